"""A stand-in for the public code: H-Codec 1.0 in PyTorch, with the original's names, arguments and layouts.

Copied into a folder as vq/codec.py it plays the user's checkout for `convert verify`. The size is
hcodec_16k_tiny's. FAULT, if set, spoils one module. As the original, it imports packages that it does not use.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from dac.nn.layers import WNConv1d
from torch import nn

FAULT = ""
if FAULT == "import":
    import a_package_of_theirs  # noqa: F401


class Unused(WNConv1d):
    """What the original builds on a package that inference does not need."""


FILTERS, STRIDES, LATENT, DIM, HIDDEN, FEATURES, CHANNELS, HEADS = 8, (2, 4, 5, 8), 128, 128, 384, 768, 64, 4


class SConv1d(nn.Module):
    def __init__(self, into, out, kernel, stride=1):
        super().__init__()
        self.stride, self.total = stride, kernel - stride
        self.conv = nn.Module()
        self.conv.conv = nn.utils.weight_norm(nn.Conv1d(into, out, kernel, stride))

    def forward(self, x):
        right = self.total // 2
        extra = -x.shape[-1] % self.stride
        return self.conv.conv(F.pad(x, (self.total - right, right + extra), mode="reflect"))


class SeanetBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.block = nn.Sequential(nn.ELU(), SConv1d(dim, dim // 2, 3), nn.ELU(), SConv1d(dim // 2, dim, 1))
        self.shortcut = SConv1d(dim, dim, 1)

    def forward(self, x):
        return self.shortcut(x) + self.block(x)


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.rnn = nn.LSTM(dim, dim, batch_first=True)
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        x, _ = self.rnn(x)
        q, k, v = (p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        half = q.shape[-1] // 2
        angle = torch.arange(x.shape[1])[:, None] / 10000 ** (torch.arange(half) / half)
        cos, sin = angle.cos(), angle.sin()

        def rope(a):
            a1, a2 = a[..., :half], a[..., half:]
            return torch.cat([a1 * cos - a2 * sin, a2 * cos + a1 * sin], -1)

        return self.o_proj(F.scaled_dot_product_attention(rope(q), rope(k), v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.w1, self.w3 = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(dim, 4 * dim, bias=False)
        self.w2 = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.self_attn, self.mlp = Attention(dim), MLP(dim)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(dim), RMSNorm(dim)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layers = nn.ModuleList([Layer(dim)])

    def forward(self, x):
        return self.layers[0](x)


class SEANetEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        layers, dim = [SConv1d(1, FILTERS, 7)], FILTERS
        for stride in STRIDES:
            layers += [SeanetBlock(dim), nn.ELU(), SConv1d(dim, 2 * dim, 2 * stride, stride)]
            dim *= 2
        layers += [Transpose(), Transformer(dim), Transpose(), nn.ELU(), SConv1d(dim, LATENT, 4, 2)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class Conv(nn.Module):
    def __init__(self, into, out, kernel, stride=1, bias=True):
        super().__init__()
        self.conv = nn.Conv1d(into, out, kernel, stride, (kernel - 1) // 2, bias=bias)

    def forward(self, x):
        return self.conv(x)


class Unit(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = Conv(dim, dim, 3, bias=False), nn.Conv1d(dim, dim, 1, bias=False)

    def forward(self, x):
        x = x + self.conv2(F.elu(self.conv1(F.elu(x))))
        return x * 1.01 if FAULT == "unit" else x


class Block(nn.Module):
    def __init__(self, stride, decoding):
        super().__init__()
        self.decoding = decoding
        if decoding and stride > 1:
            deconv = nn.ConvTranspose1d(CHANNELS, CHANNELS, 2 * stride, stride, (stride + 1) // 2, stride % 2)
            self.conv = nn.Sequential(OrderedDict(deconv=deconv))
        else:
            self.conv = Conv(CHANNELS, CHANNELS, 3 if stride == 1 else 2 * stride, stride)
        self.res_units = nn.ModuleList([Unit(CHANNELS) for _ in range(2)])

    def forward(self, x):
        x = self.conv(x) if self.decoding else x
        for unit in self.res_units:
            x = unit(x)
        return x if self.decoding else self.conv(x)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.conv2 = Conv(FEATURES, CHANNELS, 3, bias=False), Conv(CHANNELS, LATENT, 3, bias=False)
        self.conv_blocks = nn.ModuleList([Block(s, False) for s in (2, 1)])

    def forward(self, x):
        x = self.conv(x)
        for block in self.conv_blocks:
            x = block(x)
        return self.conv2(x)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = Conv(LATENT, CHANNELS, 3, bias=False), Conv(CHANNELS, FEATURES, 3, bias=False)
        self.conv_blocks = nn.ModuleList([Block(s, True) for s in (2, 1)])

    def forward(self, x):
        x = self.conv1(x)
        for block in self.conv_blocks:
            x = block(x)
        return self.conv2(x)


class Codebook(nn.Module):
    def __init__(self):
        super().__init__()
        for name, shape in (("initted", (1,)), ("cluster_size", (1, 256)), ("embed_avg", (1, 256, LATENT))):
            self.register_buffer(name, torch.ones(shape))
        self.register_buffer("embed", torch.ones(1, 256, LATENT))


class VectorQuantize(nn.Module):
    def __init__(self):
        super().__init__()
        self._codebook = Codebook()

    def forward(self, x):
        book = self._codebook.embed[0]
        codes = torch.cdist(x.double(), book.double()).argmin(-1)
        return book[codes], codes


class ResidualVQ(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first = first
        self.layers = nn.ModuleList([VectorQuantize() for _ in range(4)])

    def forward(self, x):
        total, codes = torch.zeros_like(x), []
        for layer in self.layers:
            vector, indices = layer(x - total)
            total = total + vector
            codes.append(indices)
        return total, torch.stack(codes, -1), torch.zeros(4)

    def get_codes_from_indices(self, indices):
        books = [layer._codebook.embed[0] for layer in self.layers]
        if FAULT == "codebook" and self.first:
            books[2] = torch.cat([books[2][:17], 1.001 * books[2][17:18], books[2][18:]])
        return torch.stack([book[i] for book, i in zip(books, indices.unbind(-1), strict=True)])

    def get_output_from_indices(self, indices):
        return self.get_codes_from_indices(indices).sum(0)


class Subpixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.dw = nn.Conv1d(2 * LATENT, 2 * DIM, 1), nn.Conv1d(DIM, DIM, 5, groups=DIM)

    def forward(self, x):
        x = self.up(x).unflatten(1, (2, DIM)).permute(0, 2, 3, 1).flatten(2)
        return self.dw(F.pad(x, (2, 2)))


class Resnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, DIM, 1e-6), nn.GroupNorm(32, DIM, 1e-6)
        self.conv1, self.conv2 = Conv(DIM, DIM, 3), Conv(DIM, DIM, 3)

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.dwconv = nn.Module()
        self.dwconv.conv = nn.Conv1d(DIM, DIM, 7, padding=3, groups=DIM)
        self.norm, self.gamma = nn.LayerNorm(DIM, 1e-6), nn.Parameter(torch.ones(DIM))
        self.pwconv1 = nn.ModuleDict({"linear": nn.Linear(DIM, HIDDEN)})
        self.pwconv2 = nn.ModuleDict({"linear": nn.Linear(HIDDEN, DIM)})

    def forward(self, x):
        y = self.norm(self.dwconv.conv(x).transpose(1, 2))
        y = self.pwconv2["linear"](F.gelu(self.pwconv1["linear"](y)))
        return x + (self.gamma * y).transpose(1, 2)


class ISTFT(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(1280))

    def forward(self, spectrum):
        frames = torch.fft.irfft(spectrum, 1280, dim=1) * self.window[:, None]
        count, size = frames.shape[-1], (frames.shape[-1] - 1) * 320 + 1280

        def overlap(x):
            return F.fold(x, (1, size), (1, 1280), stride=(1, 320))[:, 0, 0]

        envelope = overlap(self.window.square()[None, :, None].expand(1, -1, count))
        return (overlap(frames) / envelope.clamp(min=1e-11))[:, 480 : size - 480]


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.istft = nn.Linear(DIM, 1282), ISTFT()

    def forward(self, x):
        magnitude, phase = self.out(x).transpose(1, 2).chunk(2, 1)
        return self.istft(torch.polar(magnitude.exp().clamp(max=100), phase))


class CodecDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = Subpixel()
        norm = nn.GroupNorm(32, DIM, 1e-6)
        middle = [Transpose(), Transformer(DIM), Transpose()]
        self.prior_net = nn.Sequential(Resnet(), Resnet(), *middle, Resnet(), Resnet(), norm)
        self.norm, self.final_layer_norm = nn.LayerNorm(DIM, 1e-6), nn.LayerNorm(DIM, 1e-6)
        self.post_net = nn.Sequential(ConvNeXt(), ConvNeXt())
        self.head = Head()

    def forward(self, x):
        x = self.norm(self.prior_net(self.embed(x)).transpose(1, 2)).transpose(1, 2)
        return self.head(self.final_layer_norm(self.post_net(x).transpose(1, 2)))


class Codec(nn.Module):
    """As the original, its arguments are ignored."""

    def __init__(self, encoder_kwargs, decoder_kwargs, quantizer_kwargs):
        super().__init__()
        self.encoder, self.decoder = SEANetEncoder(), CodecDecoder()
        self.quantizer, self.semantic_quantizer = ResidualVQ(True), ResidualVQ(False)
        self.semantic_encoder, self.semantic_decoder = Encoder(), Decoder()
