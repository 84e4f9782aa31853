/* Runs the model NAME (a macro) on the raw bytes of standard input, one input after another, and writes the raw outputs.
 * With an argument, on that many threads. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include TEXT(NAME.h)

/* The plainest pool there can be. */
static pthread_barrier_t barrier;
static void wait_all(mnnc_parallel *self) { (void)self; pthread_barrier_wait(&barrier); }
struct job { void (*task)(void *, size_t); void *context; size_t index; };
static void *work(void *p) { struct job *j = p; j->task(j->context, j->index); return NULL; }
static int run_all(mnnc_parallel *self, void (*task)(void *, size_t), void *context) {
  pthread_t threads[16];
  struct job jobs[16];
  for (size_t i = 0; i < self->threads; i++) {
    jobs[i] = (struct job){task, context, i};
    if (pthread_create(&threads[i], NULL, work, &jobs[i])) return 1;
  }
  for (size_t i = 0; i < self->threads; i++) pthread_join(threads[i], NULL);
  return 0;
}

int main(int argc, char **argv) {
  const mnnc_model *m = &JOIN(NAME, _model);
  if (m->abi_version != 1 || m->workspace_size != JOIN(NAME, _workspace_size)()) return 10;
  const void *in[16];
  void *out[16];
  for (unsigned i = 0; i < m->num_inputs; i++) {
    void *p = malloc(m->inputs[i].bytes);
    if (fread(p, 1, m->inputs[i].bytes, stdin) != m->inputs[i].bytes) return 11;
    in[i] = p;
  }
  for (unsigned i = 0; i < m->num_outputs; i++) out[i] = malloc(m->outputs[i].bytes);
  size_t bytes = (m->workspace_size + 64) & ~(size_t)63;
  char *workspace = aligned_alloc(64, bytes);
  memset(workspace, 0xff, bytes);
  if (JOIN(NAME, _run)(in, out, workspace + 4) != MNNC_ERROR_ARGUMENT) return 12;
  int e;
  if (argc > 1) {
    mnnc_parallel pool = {(size_t)atoi(argv[1]), run_all, wait_all};
    pthread_barrier_init(&barrier, NULL, (unsigned)pool.threads);
    e = JOIN(NAME, _run_parallel)(in, out, workspace, &pool);
  } else {
    e = JOIN(NAME, _run)(in, out, workspace);
  }
  if (e) return 20 + e;
  for (unsigned i = 0; i < m->num_outputs; i++) fwrite(out[i], 1, m->outputs[i].bytes, stdout);
  for (unsigned i = 0; i < m->num_outputs; i++) fprintf(stderr, "%s\n", m->outputs[i].name);
  return 0;
}
