"""Networks with an answer for every pixel or place: segmentation, detection, pose, restoration, generation."""


def basic_block(b, x, channels, stride=1, dilation=1):
    y = b.conv(b.conv(x, channels, 3, stride=stride, dilation=dilation), channels, 3, None, dilation=dilation)
    same = stride == 1 and b.shape[x][1] == channels
    return b.add(x if same else b.conv(x, channels, 1, None, stride=stride), y, "Relu")


def aspp(b, x, channels, rates):
    """Atrous spatial pyramid pooling (Chen et al., DeepLab v3)."""
    height, width = b.shape[x][2:]
    pooled = b.resize(b.conv(b.global_pool(x), channels, 1), height, width)
    branches = [b.conv(x, channels, 1), *(b.conv(x, channels, 3, dilation=r) for r in rates), pooled]
    return b.conv(b.concat(*branches), channels, 1)


def inverted(b, x, channels, stride=1, dilation=1, expansion=6):
    hidden = expansion * b.shape[x][1]
    y = b.depthwise(b.conv(x, hidden, 1, "relu6"), 3, "relu6", stride=stride, dilation=dilation)
    y = b.conv(y, channels, 1, None)
    return b.add(x, y) if stride == 1 and b.shape[x][1] == channels else y


def dilated_segmentation(b):
    x = b.conv(b.input(1, 3, 257, 257), 32, 3, "relu6", stride=2)
    for channels, stride, dilation in [(24, 2, 1), (24, 1, 1), (32, 2, 1), (32, 1, 1), (64, 1, 2), (64, 1, 2), (96, 1, 2), (160, 1, 4), (160, 1, 4)]:
        x = inverted(b, x, channels, stride, dilation)
    b.output(b.resize(b.conv(aspp(b, x, 128, (6, 12, 18)), 21, 1, None), 257, 257), "classes")


def aspp_33(b):
    b.output(b.conv(aspp(b, b.input(1, 512, 33, 33), 256, (6, 12, 18)), 21, 1, None), "classes")


def aspp_65(b):
    b.output(b.conv(aspp(b, b.input(1, 320, 65, 65), 256, (12, 24, 36)), 21, 1, None), "classes")


def pyramid_pooling(b):
    x = b.pool(b.conv(b.input(1, 3, 240, 320), 64, 7, stride=2), 3, 2, 1)
    for channels, stride, dilation in [(64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4)]:
        x = basic_block(b, basic_block(b, x, channels, stride, dilation), channels, 1, dilation)
    height, width = b.shape[x][2:]
    scales = [b.pool(x, (height // n, width // n), (height // n, width // n), kind="AveragePool") for n in (1, 2, 5)]
    x = b.concat(x, *(b.resize(b.conv(s, 128, 1), height, width) for s in scales))
    b.output(b.resize(b.conv(b.conv(x, 256, 3), 19, 1, None), 240, 320), "classes")


def two_branch_segmentation(b):
    picture = b.input(1, 3, 256, 512)
    detail = b.conv(b.conv(b.conv(picture, 32, 3, stride=2), 64, 3, stride=2), 64, 3)
    detail = b.conv(b.conv(detail, 128, 3, stride=2), 128, 3)
    context = b.pool(b.conv(picture, 16, 3, stride=2), 3, 2, 1)
    for channels, stride in [(32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)]:
        context = inverted(b, context, channels, stride)
    context = b.op("Mul", context, b.conv(b.global_pool(context), 128, 1, "Sigmoid"))
    x = b.add(detail, b.resize(b.conv(context, 128, 1), *b.shape[detail][2:]))
    b.output(b.resize(b.conv(b.conv(x, 128, 3), 19, 1, None), 256, 512), "classes")


def unet(b):
    x, skips = b.input(1, 3, 256, 256), []
    for channels in (16, 32, 64, 128):
        x = b.conv(b.conv(x, channels, 3), channels, 3)
        skips.append(x)
        x = b.pool(x)
    x = b.conv(b.conv(x, 256, 3), 256, 3)
    for skip in reversed(skips):
        channels = b.shape[skip][1]
        x = b.conv(b.concat(skip, b.double(x)), channels, 3)
        x = b.conv(x, channels, 3)
    b.output(b.conv(x, 2, 1, None), "mask")


def unet_bilinear(b):
    x, skips = b.input(1, 3, 192, 256), []
    for channels in (24, 48, 96):
        x = b.conv(b.conv(x, channels, 3), channels, 3)
        skips.append(x)
        x = b.pool(x)
    x = b.conv(x, 144, 3)
    for skip in reversed(skips):
        x = b.conv(b.concat(skip, b.double(x, "linear")), b.shape[skip][1], 3)
    b.output(b.conv(x, 5, 1, None), "mask")


def hrnet(b):
    """Branches of three resolutions that exchange (Sun et al., "Deep High-Resolution Representation Learning")."""
    x = b.conv(b.conv(b.input(1, 3, 256, 192), 32, 3, stride=2), 32, 3, stride=2)
    branches = [x, b.conv(x, 64, 3, stride=2)]
    branches.append(b.conv(branches[1], 128, 3, stride=2))
    for _ in range(2):
        branches = [basic_block(b, basic_block(b, x, b.shape[x][1]), b.shape[x][1]) for x in branches]
        mixed = []
        for i, x in enumerate(branches):
            for j, y in enumerate(branches):
                channels, (height, width) = b.shape[x][1], b.shape[x][2:]
                if j > i:
                    x = b.add(x, b.resize(b.conv(y, channels, 1, None), height, width, "nearest"))
                elif j < i:
                    for _ in range(i - j - 1):
                        y = b.conv(y, b.shape[y][1], 3, stride=2)
                    x = b.add(x, b.conv(y, channels, 3, None, stride=2))
            mixed.append(b.act(x, "Relu"))
        branches = mixed
    b.output(b.conv(branches[0], 17, 1, None), "heatmaps")


def pose(b):
    x = b.pool(b.conv(b.input(1, 3, 256, 192), 64, 7, stride=2), 3, 2, 1)
    for channels, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        x = basic_block(b, x, channels, stride)
    for _ in range(3):
        x = b.transposed(x, 128, 4, 2, 1)
    b.output(b.conv(x, 17, 1, None), "heatmaps")


def yolo_v3_tiny(b):
    x = b.input(1, 3, 416, 416)
    for channels in (16, 32, 64, 128):
        x = b.pool(b.conv(x, channels, 3, "leaky"))
    route = b.conv(x, 256, 3, "leaky")
    x = b.conv(b.conv(b.conv(b.pool(route), 512, 3, "leaky"), 1024, 3, "leaky"), 256, 1, "leaky")
    b.output(b.conv(b.conv(x, 512, 3, "leaky"), 255, 1, None), "coarse")
    x = b.concat(b.double(b.conv(x, 128, 1, "leaky")), route)
    b.output(b.conv(b.conv(x, 256, 3, "leaky"), 255, 1, None), "fine")


def detector_silu(b):
    """Cross-stage partial stages with SiLU, three scales, each with a head."""

    def stage(x, channels, blocks):
        y = b.conv(x, channels // 2, 1, "silu")
        for _ in range(blocks):
            y = b.add(y, b.conv(b.conv(y, channels // 2, 1, "silu"), channels // 2, 3, "silu"))
        return b.conv(b.concat(y, b.conv(x, channels // 2, 1, "silu")), channels, 1, "silu")

    x, scales = b.conv(b.input(1, 3, 320, 320), 16, 6, "silu", stride=2, pad=2), []
    for channels, blocks in [(32, 1), (64, 2), (128, 3), (256, 1)]:
        x = stage(b.conv(x, channels, 3, "silu", stride=2), channels, blocks)
        scales.append(x)
    pooled = b.conv(x, 128, 1, "silu")
    pools = [pooled]
    for _ in range(3):
        pools.append(b.pool(pools[-1], 5, 1, 2))
    x = b.conv(b.concat(*pools), 256, 1, "silu")
    b.output(b.conv(x, 75, 1, "Sigmoid"), "coarse")
    for skip, name in [(scales[2], "middle"), (scales[1], "fine")]:
        channels = b.shape[skip][1]
        x = stage(b.concat(b.double(b.conv(x, channels, 1, "silu")), skip), channels, 1)
        b.output(b.conv(x, 75, 1, "Sigmoid"), name)


def denoiser(b):
    picture = b.input(1, 1, 180, 180)
    x = b.conv(picture, 64, 3)
    for _ in range(6):
        x = b.conv(x, 64, 3)
    b.output(b.op("Sub", picture, b.conv(x, 1, 3, None)), "clean")


def super_resolution(b):
    x = head = b.conv(b.input(1, 3, 128, 128), 32, 3, None)
    for _ in range(5):
        x = b.add(x, b.conv(b.conv(x, 32, 3), 32, 3, None))
    x = b.conv(b.add(head, x), 12, 3, None)
    b.output(b.op("DepthToSpace", x, shape=[1, 3, 256, 256], blocksize=2, mode="CRD"), "large")


def dcgan(b):
    x = b.transposed(b.input(1, 100, 1, 1, name="noise"), 512, 4, 1, 0)
    for channels in (256, 128, 64):
        x = b.transposed(x, channels, 4, 2, 1)
    b.output(b.transposed(x, 3, 4, 2, 1, "Tanh"), "picture")


def mobile_detector(b):
    """Inverted residuals, and heads of depthwise convolutions on four scales (Liu et al., "SSD"; Sandler et al., "MobileNetV2")."""
    x, scales = b.conv(b.input(1, 3, 300, 300), 24, 3, "relu6", stride=2), []
    for channels, stride, expansion, blocks in [(16, 1, 1, 1), (24, 2, 6, 2), (32, 2, 6, 3), (64, 2, 6, 3), (96, 1, 6, 2)]:
        for i in range(blocks):
            y = b.conv(x, expansion * b.shape[x][1], 1, "relu6") if expansion > 1 else x
            y = b.conv(b.depthwise(y, 3, "relu6", stride=1 if i else stride), channels, 1, None)
            x = b.add(x, y) if i else y
    for _ in range(3):
        scales.append(x)
        x = b.conv(b.depthwise(b.conv(x, 128, 1, "relu6"), 3, "relu6", stride=2), 256, 1, "relu6")
    for i, x in enumerate([*scales, x]):
        b.output(b.conv(b.depthwise(x, 3, "relu6"), 24, 1, None), f"boxes{i}")
        b.output(b.conv(b.depthwise(x, 3, "relu6"), 126, 1, None), f"classes{i}")


def pyramid_detector(b):
    """A feature pyramid with shared depth in its heads (Lin et al., "Focal Loss for Dense Object Detection")."""
    x, levels = b.pool(b.conv(b.input(1, 3, 256, 320), 64, 7, stride=2), 3, 2, 1), []
    for channels in (64, 128, 256):
        for i in range(2):
            stride = 2 if channels > 64 and not i else 1
            y = b.conv(b.conv(x, channels, 3, stride=stride), channels, 3, None)
            x = b.add(x if stride == 1 else b.conv(x, channels, 1, None, stride=stride), y, "Relu")
        levels.append(b.conv(x, 96, 1, None))
    for i in (1, 0):
        levels[i] = b.add(levels[i], b.double(levels[i + 1]))
    for i, x in enumerate(levels):
        x = b.conv(x, 96, 3, None)
        b.output(b.conv(b.conv(b.conv(x, 96, 3), 96, 3), 180, 3, "Sigmoid"), f"classes{i}")
        b.output(b.conv(b.conv(b.conv(x, 96, 3), 96, 3), 36, 3, None), f"boxes{i}")
