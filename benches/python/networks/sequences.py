"""Networks over sequences and sets: sound, text, patches, points."""


def audio_dilated(b):
    x = b.conv(b.input(1, 64, 1000), 128, 1)
    for i in range(8):
        y = b.conv(b.conv(x, 128, 3, dilation=2 ** (i % 4)), 128, 1, None)
        x = b.add(x, y, "Relu")
    b.output(b.conv(x, 40, 1, None), "phonemes")


def keyword_spotting(b):
    """Depthwise separable convolutions over a spectrogram (Zhang et al., "Hello Edge")."""
    x = b.conv(b.input(1, 1, 49, 40), 172, (10, 4), stride=(2, 1), pad=(4, 1))
    for _ in range(4):
        x = b.conv(b.depthwise(x, 3), 172, 1)
    b.output(b.classifier(x, 35), "words")


def point_cloud(b):
    x = b.input(1, 3, 1024)
    for channels in (64, 64, 64, 128, 1024):
        x = b.conv(x, channels, 1)
    x = b.reshape(b.global_pool(x, "GlobalMaxPool"), 1, 1024)
    b.output(b.linear(b.linear(b.linear(x, 512, "Relu"), 256, "Relu"), 40), "classes")


def decoder(b):
    x = b.input(1, 128, 512)
    for _ in range(4):
        x = b.transformer_block(x, 8, causal=True)
    b.output(b.linear(b.layer_norm(x), 2000), "logits")


def text_encoder(b):
    """Widths and a length that are no multiples of a vector."""
    x = b.input(1, 77, 312)
    for _ in range(4):
        x = b.transformer_block(x, 12)
    b.output(b.layer_norm(x), "features")


def window_attention(b):
    """Attention in windows of 7 by 7 (Liu et al., "Swin Transformer")."""
    x = b.conv(b.input(1, 3, 224, 224), 96, 4, None, stride=4, pad=0)
    for stage, heads in enumerate((3, 6)):
        if stage:
            x = b.conv(x, 192, 2, None, stride=2, pad=0)
        for _ in range(2):
            channels, side = b.shape[x][1], b.shape[x][2]
            n = side // 7
            y = b.transpose(b.reshape(x, channels, n, 7, n, 7), 1, 3, 2, 4, 0)
            y = b.transformer_block(b.reshape(y, n * n, 49, channels), heads)
            y = b.transpose(b.reshape(y, n, n, 7, 7, channels), 4, 0, 2, 1, 3)
            x = b.reshape(y, 1, channels, side, side)
    b.output(b.classifier(x, 1000), "logits")


def mixer(b):
    """Tolstikhin et al., "MLP-Mixer"."""
    x = b.conv(b.input(1, 3, 224, 224), 384, 16, None, stride=16, pad=0)
    x = b.transpose(b.reshape(x, 1, 384, 196), 0, 2, 1)
    for _ in range(4):
        y = b.transpose(b.layer_norm(x), 0, 2, 1)
        x = b.add(x, b.transpose(b.linear(b.linear(y, 192, "gelu"), 196), 0, 2, 1))
        x = b.add(x, b.linear(b.linear(b.layer_norm(x), 1536, "gelu"), 384))
    b.output(b.linear(b.op("ReduceMean", x, shape=[1, 384], axes=[1], keepdims=0), 1000), "logits")


def speech_features(b):
    """Strided convolutions over a waveform, then a transformer (Baevski et al., "wav2vec 2.0")."""
    x = b.input(1, 1, 8000)
    for channels, kernel, stride in [(128, 10, 5), (128, 3, 2), (128, 3, 2), (160, 3, 2), (160, 2, 2)]:
        x = b.conv(x, channels, kernel, "gelu", stride=stride, pad=0)
    x = b.transpose(x, 0, 2, 1)
    for _ in range(2):
        x = b.transformer_block(x, 5)
    b.output(b.linear(x, 32), "logits")
