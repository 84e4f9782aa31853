"""Networks that name what is in a picture or a video."""


def vgg11(b):
    x = b.input(1, 3, 224, 224)
    for channels in (64, 128, (256, 256), (512, 512), (512, 512)):
        for c in channels if isinstance(channels, tuple) else (channels,):
            x = b.conv(x, c, 3)
        x = b.pool(x)
    x = b.op("Flatten", x, shape=[1, 512 * 7 * 7])
    b.output(b.linear(b.linear(b.linear(x, 4096, "Relu"), 4096, "Relu"), 1000), "logits")


def resnext_se(b):
    x = b.pool(b.conv(b.input(1, 3, 224, 224), 64, 7, stride=2), 3, 2, 1)
    for stage, (blocks, width) in enumerate([(2, 128), (2, 256), (3, 512)]):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            y = b.conv(b.conv(x, width, 1), width, 3, stride=stride, groups=32)
            y = b.squeeze_excite(b.conv(y, 2 * width, 1, None), width // 8)
            x = b.add(x if i else b.conv(x, 2 * width, 1, None, stride=stride), y, "Relu")
    b.output(b.classifier(x, 365), "logits")


def mobilenet_v1_half(b):
    x = b.conv(b.input(1, 3, 193, 161), 16, 3, "relu6", stride=2)
    for channels, stride in [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)]:
        x = b.conv(b.depthwise(x, 3, "relu6", stride=stride), channels, 1, "relu6")
    b.output(b.classifier(x, 1000), "logits")


def ghost(b):
    """Ghost modules: half of the channels by a 1x1, the other half by a cheap depthwise (Han et al., "GhostNet")."""

    def module(x, channels, act="Relu"):
        primary = b.conv(x, channels // 2, 1, act)
        return b.concat(primary, b.depthwise(primary, 3, act))

    x = b.conv(b.input(1, 3, 224, 224), 16, 3, stride=2)
    for channels, hidden, kernel, stride in [(24, 48, 3, 2), (24, 72, 3, 1), (40, 120, 5, 2), (80, 240, 3, 2), (112, 480, 3, 1), (160, 672, 5, 2)]:
        y = module(x, hidden)
        if stride == 2:
            y = b.depthwise(y, kernel, None, stride=2)
        y = module(b.squeeze_excite(y, hidden // 4, "HardSigmoid"), channels, None)
        if stride == 2:
            skip = b.conv(b.depthwise(x, kernel, None, stride=2), channels, 1, None)
        else:
            skip = x if b.shape[x][1] == channels else b.conv(x, channels, 1, None)
        x = b.add(y, skip)
    b.output(b.classifier(b.conv(x, 960, 1), 1000), "logits")


def inception(b):
    x = b.pool(b.conv(b.conv(b.input(1, 3, 224, 224), 32, 3, stride=2), 64, 3), 3, 2, 1)
    for channels in (48, 64, 96):
        for _ in range(2):
            wide = b.conv(b.conv(x, channels // 2, 1), channels, 5)
            factored = b.conv(b.conv(b.conv(x, channels, 1), channels, (1, 7)), channels, (7, 1))
            pooled = b.conv(b.pool(x, 3, 1, 1), channels // 2, 1)
            x = b.concat(b.conv(x, channels, 1), wide, factored, pooled)
        x = b.pool(x, 3, 2, 1)
    b.output(b.classifier(x, 200), "logits")


def dense_blocks(b):
    x = b.pool(b.conv(b.input(1, 3, 160, 160), 48, 7, stride=2), 3, 2, 1)
    for layers in (4, 6, 6):
        for _ in range(layers):
            x = b.concat(x, b.conv(b.conv(x, 96, 1), 24, 3))
        x = b.pool(b.conv(x, b.shape[x][1] // 2, 1), kind="AveragePool")
    b.output(b.classifier(x, 1000), "logits")


def convnext(b):
    x = b.conv(b.input(1, 3, 192, 192), 64, 4, None, stride=4, pad=0)
    for stage, (blocks, channels) in enumerate([(2, 64), (2, 128), (4, 256), (2, 512)]):
        if stage:
            x = b.conv(x, channels, 2, None, stride=2, pad=0)
        for _ in range(blocks):
            y = b.transpose(b.depthwise(x, 7, None), 0, 2, 3, 1)
            y = b.linear(b.linear(b.layer_norm(y), 4 * channels, "gelu"), channels)
            x = b.add(x, b.transpose(y, 0, 3, 1, 2))
    b.output(b.classifier(x, 1000), "logits")


def video_3d(b):
    x = b.input(1, 3, 8, 112, 112)
    for channels, pool in [(32, (1, 2, 2)), (64, 2), (128, 2), (256, 2)]:
        x = b.pool(b.conv(x, channels, 3), pool, pool)
    b.output(b.classifier(b.conv(x, 256, 3), 101), "logits")


def regnet(b):
    """Groups of 24 channels (Radosavovic et al., "Designing Network Design Spaces")."""
    x = b.conv(b.input(1, 3, 224, 224), 32, 3, stride=2)
    for blocks, width in [(1, 48), (3, 96), (4, 240), (2, 528)]:
        for i in range(blocks):
            stride = 1 if i else 2
            y = b.conv(b.conv(x, width, 1), width, 3, stride=stride, groups=width // 24)
            y = b.conv(y, width, 1, None)
            x = b.add(x if i else b.conv(x, width, 1, None, stride=stride), y, "Relu")
    b.output(b.classifier(x, 1000), "logits")


def grouped_shuffle(b):
    """1x1 convolutions in three groups, shuffled (Zhang et al., "ShuffleNet")."""

    def shuffle(x, groups):
        n, channels, height, width = b.shape[x]
        y = b.reshape(x, n, groups, channels // groups, height, width)
        return b.reshape(b.transpose(y, 0, 2, 1, 3, 4), n, channels, height, width)

    x = b.pool(b.conv(b.input(1, 3, 224, 224), 24, 3, stride=2), 3, 2, 1)
    for channels, units in [(240, 3), (480, 5), (960, 2)]:
        for i in range(units):
            before = b.shape[x][1]
            y = shuffle(b.conv(x, channels // 4, 1, groups=3 if i or before > 24 else 1), 3)
            y = b.depthwise(y, 3, None, stride=1 if i else 2)
            y = b.conv(y, channels if i else channels - before, 1, None, groups=3)
            x = b.add(x, y, "Relu") if i else b.act(b.concat(b.pool(x, 3, 2, 1, "AveragePool"), y), "Relu")
    b.output(b.classifier(x, 1000), "logits")


def face(b):
    """PReLU, and a depthwise convolution of the whole image at the end (Chen et al., "MobileFaceNets")."""
    prelu = lambda x: b.op("PRelu", x, b.random(b.shape[x][1], 1, 1, scale=0.2))
    x = prelu(b.depthwise(prelu(b.conv(b.input(1, 3, 112, 112), 64, 3, None, stride=2)), 3, None))
    for channels, hidden, stride, blocks in [(64, 128, 2, 4), (128, 256, 2, 5), (128, 256, 2, 3)]:
        for i in range(blocks):
            y = prelu(b.conv(x, hidden, 1, None))
            y = b.conv(prelu(b.depthwise(y, 3, None, stride=1 if i else stride)), channels, 1, None)
            x = b.add(x, y) if i else y
    x = b.conv(prelu(b.conv(x, 512, 1, None)), 512, 7, None, groups=512, pad=0)
    b.output(b.linear(b.op("Flatten", x, shape=[1, 512]), 128), "embedding")
