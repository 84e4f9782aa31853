"""Networks that mnnc's zoo does not name, for comparisons with shapes that nobody tuned for.

Each is a function that draws its graph with a `Builder`; its name is the network's.
"""

import os
import zlib

from . import classification, dense_prediction, sequences

NETWORKS = {
    f.__name__: f
    for f in [
        classification.vgg11,
        classification.resnext_se,
        classification.mobilenet_v1_half,
        classification.ghost,
        classification.inception,
        classification.dense_blocks,
        classification.convnext,
        classification.video_3d,
        classification.regnet,
        classification.grouped_shuffle,
        classification.face,
        dense_prediction.dilated_segmentation,
        dense_prediction.aspp_33,
        dense_prediction.aspp_65,
        dense_prediction.pyramid_pooling,
        dense_prediction.two_branch_segmentation,
        dense_prediction.unet,
        dense_prediction.unet_bilinear,
        dense_prediction.hrnet,
        dense_prediction.pose,
        dense_prediction.yolo_v3_tiny,
        dense_prediction.detector_silu,
        dense_prediction.denoiser,
        dense_prediction.super_resolution,
        dense_prediction.dcgan,
        dense_prediction.mobile_detector,
        dense_prediction.pyramid_detector,
        sequences.audio_dilated,
        sequences.keyword_spotting,
        sequences.point_cloud,
        sequences.decoder,
        sequences.text_encoder,
        sequences.window_attention,
        sequences.mixer,
        sequences.speech_features,
    ]
}


def write(name, path):
    """Writes the network to an ONNX file: the same bytes on every machine."""
    import onnx

    from .builder import Builder

    builder = Builder(name, seed=zlib.crc32(name.encode()))
    NETWORKS[name](builder)
    partial = path + ".partial"
    onnx.save(builder.model(), partial)
    os.replace(partial, path)
