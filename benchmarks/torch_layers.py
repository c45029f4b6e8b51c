"""The layers of H-Codec 2.0-large in plain torch.nn modules with random weights, to time them.

The public PyTorch code is not part of this project; these modules compute the same layers (shapes
from third_party/manifests/hcodec2.json), so that both frameworks are timed in one run.
"""

import torch
import torch.nn.functional as F
from torch import nn

DIM, HIDDEN, MLP, HEADS, LATENT = 1536, 4608, 4096, 24, 512


class ConvNeXt(nn.Module):
    """(B, C, T) -> same."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv1d(DIM, DIM, 7, padding=3, groups=DIM)
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        self.up, self.down = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.gamma = nn.Parameter(torch.ones(DIM))

    def forward(self, x):
        """Computes the block."""
        y = self.norm(self.depthwise(x).transpose(1, 2))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).transpose(1, 2)


class Block(nn.Module):
    """A transformer layer with an LSTM before attention, (B, T, D) -> same."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(DIM, eps=1e-6) for _ in range(2)])
        self.lstm = nn.LSTM(DIM, DIM, batch_first=True)
        self.qkv = nn.ModuleList([nn.Linear(DIM, DIM) for _ in range(3)])
        self.out = nn.Linear(DIM, DIM, bias=False)
        self.gate, self.up = nn.Linear(DIM, MLP, bias=False), nn.Linear(DIM, MLP, bias=False)
        self.down = nn.Linear(MLP, DIM, bias=False)

    def forward(self, x):
        """Computes the layer."""
        h, _ = self.lstm(self.norms[0](x))
        q, k, v = (p(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in self.qkv)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = self.norms[1](x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Resnet(nn.Module):
    """(B, C, T) -> same."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(32, DIM) for _ in range(2)])
        self.convs = nn.ModuleList([nn.Conv1d(DIM, DIM, 3, padding=1) for _ in range(2)])

    def forward(self, x):
        """Computes the block."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.silu(norm(y)))
        return x + y


class Unit(nn.Module):
    """A residual unit of the semantic encoder, (B, C, T) -> same."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv1d(DIM, DIM, 3, padding=1, bias=False)
        self.narrow = nn.Conv1d(DIM, DIM, 1, bias=False)

    def forward(self, x):
        """Computes the unit."""
        return x + self.narrow(F.elu(self.wide(F.elu(x))))


class Encoder(nn.Module):
    """Both encoders and both quantizers: wave (B, S) and features (B, 768, T50) -> codes."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv1d(1922, DIM, 3, padding=1), nn.LayerNorm(DIM)
        self.convnext = nn.Sequential(*[ConvNeXt() for _ in range(24)])
        self.transformer = nn.Sequential(*[Block() for _ in range(2)])
        self.final, self.out = nn.LayerNorm(DIM), nn.Conv1d(DIM, LATENT, 9, 4, padding=4)
        semantic = [nn.Conv1d(768, DIM, 3, padding=1, bias=False)]
        for stride in (2, 1, 2):
            kernel = 3 if stride == 1 else 2 * stride
            semantic += [Unit(), Unit(), nn.Conv1d(DIM, DIM, kernel, stride, padding=(kernel - 1) // 2)]
        self.semantic = nn.Sequential(*semantic, nn.Conv1d(DIM, LATENT, 3, padding=1, bias=False))
        self.register_buffer("books", 0.1 * torch.randn(2, 16, 1024, LATENT))
        self.register_buffer("window", torch.hann_window(1920))

    def forward(self, wave, features):
        """Encodes wave and features."""
        padded = F.pad(wave, (480, 480))
        spectrum = torch.stft(padded, 1920, 960, window=self.window, center=False, return_complex=True)
        x = torch.cat([spectrum.abs().clamp(min=1e-5).log(), spectrum.angle() / torch.pi], dim=1)
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        x = self.final(self.transformer(self.convnext(x).transpose(1, 2)))
        codes = []
        for residual, books in zip((self.out(x.transpose(1, 2)), self.semantic(features)), self.books, strict=True):
            residual = residual.transpose(1, 2)
            for book in books:
                codes.append(torch.cdist(residual, book[None]).argmin(-1))
                residual = residual - book[codes[-1]]
        return codes


class Decoder(nn.Module):
    """Code vectors (B, 1024, T) -> wave."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv1d(2 * LATENT, DIM, 5, padding=2)
        self.before = nn.Sequential(Resnet(), Resnet())
        self.transformer = nn.Sequential(*[Block() for _ in range(2)])
        self.after = nn.Sequential(Resnet(), Resnet(), nn.GroupNorm(32, DIM))
        self.norm, self.final = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.convnext = nn.Sequential(*[ConvNeXt() for _ in range(32)])
        self.head = nn.Linear(DIM, 1922)
        self.register_buffer("window", torch.hann_window(1920))

    def forward(self, vectors):
        """Decodes code vectors."""
        x = self.before(self.embed(vectors.repeat_interleave(4, dim=2)))
        x = self.after(self.transformer(x.transpose(1, 2)).transpose(1, 2))
        x = self.convnext(self.norm(x.transpose(1, 2)).transpose(1, 2))
        magnitude, phase = self.head(self.final(x.transpose(1, 2))).chunk(2, dim=-1)
        frames = torch.fft.irfft(torch.polar(magnitude.exp().clamp(max=100), phase), n=1920) * self.window
        length = 960 * (frames.shape[1] + 1)
        wave = F.fold(frames.transpose(1, 2), (1, length), (1, 1920), stride=(1, 960))
        return wave[:, 0, 0, 480:-480]
