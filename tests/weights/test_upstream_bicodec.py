"""The comparison of BiCodec with the public code, in PyTorch parts that compute what ours do, or something else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.bicodec.model import BiCodec, mel_frames
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.weights.bicodec import import_bicodec
from quarkaudio_jax.weights.upstream_bicodec import compare_bicodec, exact_codes
from tests.parity.test_bicodec import golden_model

torch = pytest.importorskip("torch", reason="the public code is PyTorch")


def first(x_BxTxD):
    return np.array(x_BxTxD).swapaxes(1, 2)


@dataclasses.dataclass
class Fault:
    """A part of the stand-in, and the factor of what it returns."""

    part: str = ""
    factor: float = 1.0


class Part(torch.nn.Module):
    """A PyTorch module, and methods of it, from functions of arrays."""

    def __init__(self, name, fault, **functions):
        super().__init__()
        self.name, self.fault, self.functions = name, fault, functions
        for method in set(functions) - {"forward"}:
            setattr(self, method, lambda *inputs, method=method: self.run(method, *inputs))

    def run(self, method, *inputs):
        factor = self.fault.factor if self.name == self.fault.part else 1
        found = self.functions[method](*(x.numpy() for x in inputs))
        return jax.tree.map(lambda x: torch.from_numpy(np.array(x)) * factor, found)

    def forward(self, *inputs):
        return self.run("forward", *inputs)


@pytest.fixture(scope="module")
def bicodec():
    """(configuration, parameters, features, reference, function of a fault to the stand-in of the public model)."""
    cfg, tensors, arrays, _ = golden_model()
    params = unstack_params(import_bicodec(cfg, tensors))
    module = BiCodec(cfg, scan=False)

    def ours(function, *inputs):
        return module.apply({"params": params}, *inputs, method=function)

    def stand_in(fault):
        model = torch.nn.Module()
        model.mel_transformer = Part(
            "mel_transformer", fault, forward=lambda wave: first(mel_frames(cfg, jnp.asarray(wave)))
        )
        model.encoder = Part("encoder", fault, forward=lambda x: first(ours(lambda m, y: m.encoder(y), first(x))))
        model.quantizer = Part(
            "quantizer",
            fault,
            tokenize=lambda x: ours(lambda m, y: m.quantizer.encode(y), first(x)),
            detokenize=lambda ids: first(ours(lambda m, y: m.quantizer.decode(y), ids)),
        )
        codebook = torch.from_numpy(tensors["quantizer.codebook.weight"].copy())
        model.quantizer.codebook = torch.nn.Embedding.from_pretrained(codebook)
        model.speaker_encoder = Part(
            "speaker_encoder",
            fault,
            tokenize=lambda mel: np.array(ours(lambda m, y: m.speaker.encode(y), mel))[:, None],
            detokenize=lambda ids: ours(lambda m, y: m.speaker.decode(y), ids[:, 0]),
            forward=lambda mel: (ours(lambda m, y: m.speaker.x_vector(y), mel),) * 2,
        )
        model.prenet = Part(
            "prenet", fault, forward=lambda x, voice: first(ours(lambda m, y: m.prenet(y, None, voice), first(x)))
        )
        model.postnet = Part("postnet", fault, forward=lambda x: first(ours(lambda m, y: m.postnet(y), first(x))))
        model.decoder = Part("decoder", fault, forward=lambda x: ours(lambda m, y: m.generator(y), first(x))[:, None])
        return model

    return cfg, params, arrays["features"][:1, :8], arrays["reference"][:1], stand_in


@pytest.mark.slow
def test_what_computes_the_same_agrees(bicodec):
    cfg, params, features, reference, stand_in = bicodec
    rows = compare_bicodec(cfg, params, stand_in(Fault()), features, reference, 1e-3)
    assert all(row.holds(1e-6, 1.0) for row in rows)
    assert {row.part for row in rows} - {""} == {
        *("mel_transformer", "encoder", "quantizer", "quantizer.codebook", "speaker_encoder"),
        *("prenet", "postnet", "decoder"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("part", ["mel_transformer", "encoder", "prenet", "postnet", "decoder"])
def test_a_part_that_differs_is_named(bicodec, part):
    cfg, params, features, reference, stand_in = bicodec
    rows = compare_bicodec(cfg, params, stand_in(Fault(part, 1.1)), features, reference, 1e-3)
    assert next(row for row in rows if not row.holds(1e-3, 1.0)).part == part


@pytest.mark.slow
def test_a_changed_entry_of_the_codebook_is_named_though_no_id_uses_it(bicodec):
    cfg, params, features, reference, stand_in = bicodec
    model = stand_in(Fault())
    model.quantizer.codebook.weight.data[7, 0] += 0.01
    rows = compare_bicodec(cfg, params, model, features, reference, 1e-3)
    failed = [row for row in rows if not row.holds(1e-3, 1.0)]
    assert [row.name for row in failed] == ["semantic codebook"]
    assert failed[0].part.startswith("quantizer.codebook (entry 7), off by")


def test_exact_codes_are_those_of_the_nearest_direction():
    quantizer = {"project_in": {"kernel": np.eye(2), "bias": np.zeros(2)}, "codebook": [[9, 0], [0, 1], [-1, -1]]}
    np.testing.assert_array_equal(exact_codes(quantizer, np.array([[[1, 2], [2, 1], [-3, -2]]])), [[1, 0, 2]])
