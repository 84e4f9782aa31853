/* Classifies a picture with a network that is part of the program.
 *
 *     top5 PICTURE [LABELS]
 *
 * The network is mobilenet_v2.o, compiled by mnnc from an ONNX model; mobilenet_v2.h describes it. LABELS has a line for
 * each class. Reading and scaling pictures is the work of the stb libraries. */
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <math.h>
#include <stb_image.h>
#include <stb_image_resize.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobilenet_v2.h"

enum { SIDE = 224, SHORTER = 256, CLASSES = MOBILENET_V2_OUTPUT_0_ELEMENTS };

/* The network's whole world: no call allocates anything. */
static float input[MOBILENET_V2_INPUT_0_ELEMENTS];
static float logits[CLASSES];
static alignas(64) unsigned char workspace[MOBILENET_V2_WORKSPACE_BYTES];

static void die(const char *what, const char *why) {
  fprintf(stderr, "top5: %s: %s\n", what, why);
  exit(1);
}

/* Reads a picture, scales its shorter side to 256 pixels, and puts the middle 224x224 into `input`: colour planes, less
 * ImageNet's mean and over its standard deviation, as the network was trained. */
static void read_picture(const char *path) {
  static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
  int width, height, channels;
  unsigned char *picture = stbi_load(path, &width, &height, &channels, 3);
  if (!picture) die(path, stbi_failure_reason());
  double scale = (double)SHORTER / (width < height ? width : height);
  int w = (int)lround(width * scale), h = (int)lround(height * scale);
  unsigned char *scaled = malloc((size_t)w * h * 3);
  if (!scaled || !stbir_resize_uint8(picture, width, height, 0, scaled, w, h, 0, 3)) die(path, "cannot be scaled");
  int left = (w - SIDE) / 2, top = (h - SIDE) / 2;
  for (int c = 0; c < 3; c++) {
    for (int y = 0; y < SIDE; y++) {
      for (int x = 0; x < SIDE; x++) {
        float byte = scaled[((size_t)(top + y) * w + left + x) * 3 + c];
        input[(c * SIDE + y) * SIDE + x] = (byte / 255 - mean[c]) / deviation[c];
      }
    }
  }
  free(scaled);
  stbi_image_free(picture);
}

/* Line `index` of the file, or its number if there is none. */
static const char *label(const char *path, int index) {
  static char line[256];
  FILE *file = path ? fopen(path, "r") : NULL;
  if (path && !file) die(path, "cannot be read");
  snprintf(line, sizeof line, "class %d", index);
  for (int i = 0; file && i <= index && fgets(line, sizeof line, file); i++) {
  }
  line[strcspn(line, "\r\n")] = 0;
  if (file) fclose(file);
  return line;
}

int main(int argc, char **argv) {
  if (argc < 2) die("usage", "top5 PICTURE [LABELS]");
  read_picture(argv[1]);
  const void *inputs[] = {input};
  void *outputs[] = {logits};
  if (mobilenet_v2_run(inputs, outputs, workspace) != MNNC_OK) die("mobilenet_v2", "not for this processor");

  double sum = 0;
  for (int i = 0; i < CLASSES; i++) sum += exp(logits[i]);
  for (int place = 0; place < 5; place++) {
    int best = 0;
    for (int i = 1; i < CLASSES; i++) {
      if (logits[i] > logits[best]) best = i;
    }
    printf("%6.2f %%  %s\n", 100 * exp(logits[best]) / sum, label(argc > 2 ? argv[2] : NULL, best));
    logits[best] = -INFINITY;
  }
  return 0;
}
