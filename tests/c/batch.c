/* Runs many compiled models one after another: `models.inc` lists them as MODEL(name). Standard input holds the raw inputs of
 * all, standard output gets the raw outputs. The index of each goes to standard error first, so that a crash has a name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

#define MODEL(name) \
  extern const mnnc_model name##_model; \
  int name##_run(const void *const *, void *const *, void *);
#include "models.inc"
#undef MODEL

static const struct {
  const mnnc_model *model;
  int (*run)(const void *const *, void *const *, void *);
} models[] = {
#define MODEL(name) {&name##_model, name##_run},
#include "models.inc"
};

int main(void) {
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    const mnnc_model *m = models[i].model;
    fprintf(stderr, "%s\n", m->name);
    void *in[16], *out[16];
    if (m->num_inputs > 16 || m->num_outputs > 16) return 2;
    for (unsigned k = 0; k < m->num_inputs; k++) {
      in[k] = malloc(m->inputs[k].bytes + 1);
      if (fread(in[k], 1, m->inputs[k].bytes, stdin) != m->inputs[k].bytes) return 3;
    }
    for (unsigned k = 0; k < m->num_outputs; k++) {
      out[k] = malloc(m->outputs[k].bytes + 1);
      memset(out[k], 0xff, m->outputs[k].bytes);
    }
    size_t bytes = (m->workspace_size + 64) & ~(size_t)63;
    void *workspace = aligned_alloc(64, bytes);
    memset(workspace, 0xff, bytes);
    if (models[i].run((const void *const *)in, out, workspace)) return 4;
    for (unsigned k = 0; k < m->num_outputs; k++) {
      fwrite(out[k], 1, m->outputs[k].bytes, stdout);
      free(out[k]);
    }
    for (unsigned k = 0; k < m->num_inputs; k++) free(in[k]);
    free(workspace);
  }
  return 0;
}
