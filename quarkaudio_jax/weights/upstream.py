"""Runs the models of a checkout of the public PyTorch code with our weights."""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import inspect
import pathlib
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.codec.seanet import SeanetEncoderConfig
from quarkaudio_jax.codec.spectral import SpectralEncoderConfig
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.hcodec import export_hcodec

UNUSED = ("dac", "audiotools", "funasr", "easydict", "pytorch_lightning")
"""Packages that the public code imports but inference does not use; missing ones are replaced by stubs."""


SPATIAL = "QuarkAudio-HCodec/HCodec-spatial"
"""Folder of HCodec-Spatial; it came to the repository in May 2026."""


class UpstreamError(QuarkAudioError, ValueError):
    """A checkout that can't be used."""


def module_location(cfg: HCodecConfig) -> tuple[str, str]:
    """(folder in the repository, module) of the original's class."""
    if cfg.spatial is not None:
        return SPATIAL, "model.vq.codec_stereo" if cfg.spatial.mapping is None else "model.vq.codec_mono2stereo"
    if cfg.sample_rate == 48000:
        return "QuarkAudio-HCodec/HCodec-2.0", "vq.codec"
    if cfg.aggregation is not None:
        return "QuarkAudio-HCodec/HCodec-1.5", "vq.codec_adaptive"
    return "QuarkAudio-HCodec/HCodec-1.0", "vq.codec"


def constructor_arguments(cfg: HCodecConfig) -> dict[str, Any]:
    """Arguments of the original's constructor for a codec; 1.0 reads none."""
    quantizer, semantic = cfg.acoustic_quantizer, cfg.semantic
    vq: dict[str, Any] = dict(
        dim=quantizer.dim, codebook_size=quantizer.codebook_size, num_quantizers=quantizer.num_codebooks
    )
    vq |= dict(decay=quantizer.decay, kmeans_init=True, kmeans_iters=quantizer.kmeans_iters)
    branch = dict(channel_ratios=list(semantic.channel_ratios), strides=list(semantic.strides))
    into = dict(input_channels=semantic.feature_dim, encode_channels=semantic.channels, out_channels=semantic.dim)
    back = dict(code_dim=semantic.dim, output_channels=semantic.feature_dim, decode_channels=semantic.channels)
    decoder = dict(input_channels=2 * semantic.dim, dim=cfg.decoder.dim, intermediate_dim=cfg.decoder.hidden)
    if isinstance(cfg.encoder, SpectralEncoderConfig):
        stft = dict(n_fft=cfg.encoder.n_fft, hop_length=cfg.encoder.hop, target_frame_rate=cfg.frame_rate, causal=False)
        encoder = dict(dim=cfg.encoder.dim, intermediate_dim=cfg.encoder.hidden, dimension=cfg.encoder.out_dim)
        layers = dict(transformer_layers=cfg.encoder.transformer_layers)
        return {
            "encoder_kwargs": encoder | stft | layers | {"convnext_layers": cfg.encoder.convnext_layers},
            "decoder_kwargs": decoder | stft | layers | {"convnext_layers": cfg.decoder.convnext_layers},
            "quantizer_kwargs": vq | {"quantize_dropout": False},
            "semantic_encoder_kwargs": into | branch,
            "semantic_decoder_kwargs": back | branch,
        }
    if cfg.aggregation is None and cfg.spatial is None:
        return {}
    assert isinstance(cfg.encoder, SeanetEncoderConfig)
    vq |= {"quantize_dropout": True}
    strides = list(reversed(cfg.encoder.strides))
    seanet: dict[str, Any] = dict(
        causal=False, n_residual_layers=1, norm="weight_norm", pad_mode="reflect", channels=1, ratios=strides
    )
    seanet |= dict(dimension=cfg.encoder.out_dim, n_filters=cfg.encoder.filters, activation="ELU", kernel_size=7)
    seanet |= dict(residual_kernel_size=3, last_kernel_size=7, dilation_base=2, true_skip=False, compress=2, lstm=6)
    parts = {"encoder": seanet | {"use_transformer": True}, "semantic_encoder": into | branch}
    published: dict[str, Any] = {
        "encoder_kwargs": {"ratios": strides, **parts},
        "decoder_kwargs": {"decoder": decoder, "semantic_decoder": back | branch},
        "quantizer_kwargs": {"quantizer": vq, "semantic_quantizer": vq},
    }
    if cfg.spatial is not None:
        published["encoder_kwargs"]["spatial_encoder"] = parts["encoder"]
        books = cfg.spatial.quantizer.num_codebooks
        published["quantizer_kwargs"]["spatial_quantizer"] = vq | {"num_quantizers": books}
        return published | {"adaptive_kwargs": {}}
    assert cfg.aggregation is not None
    pool, mix = cfg.aggregation.aggregator, cfg.aggregation.bottleneck
    query: dict[str, Any] = dict(
        dim=pool.dim, in_out_dim=semantic.dim, num_heads=pool.num_heads, num_layers=pool.num_layers
    )
    query |= dict(dim_feedforward=pool.hidden, causal=False, use_mean_pooling_init=True, context_frames=16)
    transformer: dict[str, Any] = dict(
        d_model=mix.dim, num_heads=mix.num_heads, num_layers=mix.num_layers, causal=False, context=16
    )
    transformer |= dict(layer_scale=mix.layer_scale, conv_layout=True, max_period=10000, gating="none")
    transformer |= dict(norm="layer_norm", positional_embedding="rope", dim_feedforward=mix.hidden)
    transformer |= dict(input_dimension=mix.dim, output_dimensions=[mix.dim])
    low, high = cfg.aggregation.train_thresholds or (cfg.aggregation.threshold, 1.0)
    return {
        **published,
        "adaptive_kwargs": {
            "training": False,
            "use_similarity_alignment": True,
            "use_dynamic_similarity_threshold": False,
            "infer_using_dynamic_threshold": False,
            "similarity_threshold": low,
            "similarity_threshold_lower": low,
            "similarity_threshold_upper": high,
            "max_tokens_per_group": cfg.aggregation.max_group,
            "manual_threshold": cfg.aggregation.threshold,
            "use_query_token_aggregator": True,
            "aggregators": {"semantic_aggregator": query, "acoustic_aggregator": query},
            "use_bottleneck_transformer": True,
            "transformer_kwargs": transformer,
        },
    }


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stubs for all modules of a package; every name in them is an empty class."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.package:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StubModule(spec.name)

    def exec_module(self, module):
        pass


class _StubModule(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_upstream(checkout: str | pathlib.Path, folder: str, name: str) -> tuple[types.ModuleType, list[str]]:
    """(a module of the original, packages of `UNUSED` that are missing). See `module_location`.

    folder: the folder in the repository from which `name` is imported. UpstreamError if the checkout has no such module
    or it can't be imported.
    """
    root = pathlib.Path(checkout).absolute()
    root = root / folder if (root / folder).is_dir() else root
    path = root / (name.replace(".", "/") + ".py")
    if not path.is_file():
        raise UpstreamError(f"{path}: no such file; --upstream should be a checkout of alibaba/unified-audio")
    finders: list[_StubFinder] = []
    _forget(root.parent)
    sys.path.insert(0, str(root))
    try:
        while True:
            try:
                return importlib.import_module(name), [f.package for f in finders]
            except ModuleNotFoundError as error:
                package = (error.name or "").split(".")[0]
                if package not in UNUSED or any(f.package == package for f in finders):
                    raise UpstreamError(
                        f"{path} needs the package {package} ({error}); install what the checkout requires"
                    ) from error
                finders.append(_StubFinder(package))
                sys.meta_path.append(finders[-1])
                _forget(root)
            except Exception as error:  # whatever another project's module raises
                lines = str(error).strip().splitlines() or [""]
                raise UpstreamError(f"{path} can't be imported ({type(error).__name__}: {lines[0]})") from error
    finally:
        sys.path.remove(str(root))
        for finder in finders:
            sys.meta_path.remove(finder)
            for module in [m for m in sys.modules if m.split(".")[0] == finder.package]:
                del sys.modules[module]


def _free_values(model: Any) -> None:
    """Frees the initial values of a model; the shapes stay until weights are assigned."""
    import torch

    kept = set(model.state_dict())
    for prefix, module in model.named_modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if f"{prefix}.{name}".lstrip(".") in kept:
                empty = value.detach().to("meta")
                setattr(module, name, torch.nn.Parameter(empty) if isinstance(value, torch.nn.Parameter) else empty)


def _forget(root: pathlib.Path) -> None:
    """Removes the modules below a folder from sys.modules: the versions of the public code share module names."""
    below = [n for n, m in sys.modules.items() if str(getattr(m, "__file__", None) or "").startswith(f"{root}/")]
    packages = {name.split(".")[0] for name in below}
    for name in [n for n in sys.modules if n.split(".")[0] in packages]:  # folders without __init__.py have no file
        del sys.modules[name]


def load_upstream(module: types.ModuleType, cfg: HCodecConfig, variables: Mapping[str, Any]) -> Any:
    """Builds the original's model in evaluation mode with our weights, loaded strictly.

    Its class is the one in the module with an encoder and a decoder; UpstreamError if none accepts the weights.
    """
    import torch

    known, reasons = constructor_arguments(cfg), []
    for kind in vars(module).values():
        if not (inspect.isclass(kind) and issubclass(kind, torch.nn.Module) and kind.__module__ == module.__name__):
            continue
        wanted = inspect.signature(kind.__init__).parameters.values()
        needed = [p.name for p in wanted if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        chosen = {p.name: known[p.name] for p in wanted if p.name in known}
        try:
            model = kind(**{n: None for n in needed if n != "self"} | chosen)
        except Exception as error:  # whatever another project's constructor raises
            reasons.append(f"{kind.__name__}: {error}")
            continue
        if not (hasattr(model, "encoder") and hasattr(model, "decoder")):
            continue
        _free_values(model)
        # Copies, so that nothing the original does to its weights reaches ours.
        tensors = export_hcodec(cfg, variables).items()
        state = {k: torch.from_numpy(v if v.flags.owndata else v.copy()) for k, v in tensors}
        try:
            model.load_state_dict(state, strict=True, assign=True)
        except RuntimeError as error:
            reasons.append(f"{kind.__name__}: {str(error).splitlines()[0]} {' '.join(str(error).split()[-12:])}")
            continue
        return model.eval()
    raise UpstreamError(
        f"{module.__file__}: no class accepts the weights of {cfg.name} ({'; '.join(reasons) or 'none found'})"
    )


def first(output: Any) -> Any:
    """The first tensor of a nested list or tuple."""
    while isinstance(output, list | tuple):
        output = output[0]
    return output


class RecordedModel:
    """The original's model; records the first output of every submodule, in order of execution."""

    def __init__(self, model: Any):
        import torch

        self._torch, self.model = torch, model
        self.outputs: dict[str, np.ndarray] = {}
        self._hooks = [
            module.register_forward_hook(lambda _, __, out, name=name: self._record(name, first(out)))
            for name, module in model.named_modules()
        ]

    def _record(self, name: str, output: Any) -> None:
        if hasattr(output, "detach") and name not in self.outputs:
            self.outputs[name] = output.detach().numpy()

    def close(self) -> None:
        """Stops recording."""
        for hook in self._hooks:
            hook.remove()

    def __call__(self, part: str, *inputs, method: str = "__call__", **named) -> Any:
        """Calls a submodule ("": the model), or a method of it, on NumPy inputs."""

        def tensor(x: Any) -> Any:
            return self._torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray | jax.Array) else x

        arguments, named = [tensor(x) for x in inputs], {name: tensor(x) for name, x in named.items()}
        with self._torch.inference_mode():
            return getattr(self.model.get_submodule(part), method)(*arguments, **named)

    @contextlib.contextmanager
    def spectrum(self, given_BxFxT: np.ndarray) -> Iterator[None]:
        """Context in which the encoder's STFT returns a given spectrum."""
        value = self._torch.from_numpy(np.array(given_BxFxT))
        hook = self.model.encoder.stft.register_forward_hook(lambda *_: value)
        try:
            yield
        finally:
            hook.remove()

    @contextlib.contextmanager
    def double_stft(self) -> Iterator[None]:
        """Context in which the encoder's STFT computes in float64."""
        module = self.model.encoder.stft
        before = module.register_forward_pre_hook(lambda _, inputs: tuple(x.double() for x in inputs))
        after = module.register_forward_hook(lambda _, __, out: out.to(self._torch.complex64))
        module.double()
        try:
            yield
        finally:
            module.float()
            before.remove()
            after.remove()
