/* Uses the compiled model NAME (a macro; UPPER is the same in capitals) as an app would, and checks on the way what its
 * header promises. Raw bytes of the inputs come from standard input, one after another; the raw bytes of the outputs go to
 * standard output, the description of the model to standard error. Ends with 0 if every promise was kept.
 *
 * With LOAD, the model is a shared library that the first argument names. With POOL, the thread pool of the mnnc
 * runtime is used too. With the last argument `lacking`, the processor is one that the model must refuse. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include TEXT(NAME.h)
#ifdef POOL
#include "mnnc.h"
#endif

#define REQUIRE(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "broken promise, line %d: %s\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

enum { MAX_PORTS = 16, GUARD = 64 };

static size_t (*workspace_size)(void);
static int (*run)(const void *const *, void *const *, void *);
static int (*run_parallel)(const void *const *, void *const *, void *, mnnc_parallel *);
static const mnnc_model *model;

#ifdef LOAD
static void *symbol(void *library, const char *name) {
  void *at = dlsym(library, name);
  if (!at) fprintf(stderr, "%s\n", dlerror());
  REQUIRE(at);
  return at;
}

static void bind(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror());
  REQUIRE(library);
  *(void **)&workspace_size = symbol(library, TEXT(NAME) "_workspace_size");
  *(void **)&run = symbol(library, TEXT(NAME) "_run");
  *(void **)&run_parallel = symbol(library, TEXT(NAME) "_run_parallel");
  model = symbol(library, TEXT(NAME) "_model");
}
#else
static void bind(const char *path) {
  (void)path;
  workspace_size = JOIN(NAME, _workspace_size);
  run = JOIN(NAME, _run);
  run_parallel = JOIN(NAME, _run_parallel);
  model = &JOIN(NAME, _model);
}
#endif

static size_t element_size(uint32_t dtype) {
  static const size_t sizes[] = {0, 4, 8, 2, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1};
  REQUIRE(dtype >= 1 && dtype < sizeof sizes / sizeof *sizes);
  return sizes[dtype];
}

static void describe(const char *what, const mnnc_tensor *t) {
  uint64_t bytes = element_size(t->dtype);
  REQUIRE(t->name && *t->name && (t->rank == 0 || t->dims));
  fprintf(stderr, "%s %u %llu [", what, t->dtype, (unsigned long long)t->bytes);
  for (uint32_t i = 0; i < t->rank; i++) {
    bytes *= t->dims[i];
    fprintf(stderr, i ? ", %llu" : "%llu", (unsigned long long)t->dims[i]);
  }
  fprintf(stderr, "] %s\n", t->name);
  REQUIRE(bytes == t->bytes && t->num_scales == 0);
}

/* Everything that one call works on. */
struct call {
  void *inputs[MAX_PORTS];
  char *outputs[MAX_PORTS];
  char *workspace;
  int result;
};

/* Memory with a guard before and behind it, aligned to `align` and to no more. */
static char *guarded(size_t bytes, size_t align) {
  char *p = aligned_alloc(128, (GUARD + align + bytes + GUARD + 127) & ~(size_t)127);
  REQUIRE(p);
  p += GUARD + (align < 64 ? align : 0);
  memset(p - GUARD, 0x5a, GUARD);
  memset(p + bytes, 0x5a, GUARD);
  return p;
}

static void check_guard(const char *p, size_t bytes) {
  for (int i = 1; i <= GUARD; i++) REQUIRE(p[-i] == 0x5a);
  for (int i = 0; i < GUARD; i++) REQUIRE(p[bytes + i] == 0x5a);
}

static void prepare(struct call *c) {
  for (unsigned i = 0; i < model->num_inputs; i++) {
    c->inputs[i] = guarded(model->inputs[i].bytes, element_size(model->inputs[i].dtype));
  }
  for (unsigned i = 0; i < model->num_outputs; i++) {
    c->outputs[i] = guarded(model->outputs[i].bytes, element_size(model->outputs[i].dtype));
    memset(c->outputs[i], 0xff, model->outputs[i].bytes);
  }
  /* NaN everywhere: what a call reads it has to have written. */
  c->workspace = guarded(workspace_size(), 64);
  memset(c->workspace, 0xff, workspace_size());
}

static void check_guards(const struct call *c) {
  for (unsigned i = 0; i < model->num_inputs; i++) check_guard(c->inputs[i], model->inputs[i].bytes);
  for (unsigned i = 0; i < model->num_outputs; i++) check_guard(c->outputs[i], model->outputs[i].bytes);
  check_guard(c->workspace, workspace_size());
}

static void require_equal(const struct call *a, const struct call *b) {
  for (unsigned i = 0; i < model->num_outputs; i++) {
    REQUIRE(!memcmp(a->outputs[i], b->outputs[i], model->outputs[i].bytes));
  }
}

static void copy_inputs(struct call *to, const struct call *from) {
  for (unsigned i = 0; i < model->num_inputs; i++) memcpy(to->inputs[i], from->inputs[i], model->inputs[i].bytes);
}

static int execute(struct call *c) {
  return run((const void *const *)c->inputs, (void *const *)c->outputs, c->workspace);
}

static void *thread(void *p) {
  struct call *c = p;
  c->result = execute(c);
  return NULL;
}

int main(int argc, char **argv) {
  bind(argc > 1 ? argv[1] : NULL);
  REQUIRE(model->abi_version == 1 && !strcmp(model->name, TEXT(NAME)));
  REQUIRE(model->workspace_size == workspace_size() && workspace_size() == JOIN(UPPER, _WORKSPACE_BYTES));
  REQUIRE(model->num_inputs == JOIN(UPPER, _NUM_INPUTS) && model->num_inputs <= MAX_PORTS);
  REQUIRE(model->num_outputs == JOIN(UPPER, _NUM_OUTPUTS) && model->num_outputs <= MAX_PORTS);
  REQUIRE(strlen(model->source_hash) == 64 && *model->target && !strncmp(model->compiler, "mnnc ", 5));
  for (unsigned i = 0; i < model->num_inputs; i++) describe("input", &model->inputs[i]);
  for (unsigned i = 0; i < model->num_outputs; i++) describe("output", &model->outputs[i]);

  struct call first, second, alone;
  prepare(&first);
  prepare(&second);
  prepare(&alone);
  for (unsigned i = 0; i < model->num_inputs; i++) {
    REQUIRE(fread(first.inputs[i], 1, model->inputs[i].bytes, stdin) == model->inputs[i].bytes);
  }
  copy_inputs(&second, &first);
  REQUIRE(run((const void *const *)first.inputs, (void *const *)first.outputs, first.workspace + 32) ==
          MNNC_ERROR_ARGUMENT);
  if (argc > 1 && !strcmp(argv[argc - 1], "lacking")) {
    REQUIRE(execute(&first) == MNNC_ERROR_CPU);
    REQUIRE(run_parallel((const void *const *)first.inputs, (void *const *)first.outputs, first.workspace, NULL) ==
            MNNC_ERROR_CPU);
    check_guards(&first);
    return 0;
  }
  REQUIRE(execute(&first) == MNNC_OK);
  check_guards(&first);
  for (unsigned i = 0; i < model->num_inputs; i++) {
    REQUIRE(!memcmp(first.inputs[i], second.inputs[i], model->inputs[i].bytes));
  }
  for (unsigned i = 0; i < model->num_outputs; i++) {
    fwrite(first.outputs[i], 1, model->outputs[i].bytes, stdout);
  }

  /* The workspace keeps nothing from call to call: what another input left in it does not matter. */
  for (unsigned i = 0; i < model->num_inputs; i++) memset(alone.inputs[i], 0, model->inputs[i].bytes);
  copy_inputs(&second, &alone);
  REQUIRE(execute(&alone) == MNNC_OK);
  REQUIRE(execute(&second) == MNNC_OK);
  require_equal(&second, &alone);
  copy_inputs(&second, &first);
  REQUIRE(execute(&second) == MNNC_OK);
  require_equal(&second, &first);

  /* Two calls at once in two workspaces, on different inputs. */
  struct call other;
  prepare(&other);
  copy_inputs(&other, &alone);
  pthread_t threads[2];
  REQUIRE(!pthread_create(&threads[0], NULL, thread, &second));
  REQUIRE(!pthread_create(&threads[1], NULL, thread, &other));
  REQUIRE(!pthread_join(threads[0], NULL) && !pthread_join(threads[1], NULL));
  REQUIRE(second.result == MNNC_OK && other.result == MNNC_OK);
  require_equal(&second, &first);
  require_equal(&other, &alone);
  check_guards(&second);
  check_guards(&other);

#ifdef POOL
  for (size_t n = 1; n <= 3; n++) {
    mnnc_parallel *pool = mnnc_pool_create(n);
    REQUIRE(pool && pool->threads == n);
    for (int again = 0; again < 2; again++) {
      for (unsigned i = 0; i < model->num_outputs; i++) memset(other.outputs[i], 0xff, model->outputs[i].bytes);
      memset(other.workspace, 0xff, workspace_size());
      copy_inputs(&other, &first);
      REQUIRE(run_parallel((const void *const *)other.inputs, (void *const *)other.outputs, other.workspace, pool) ==
              MNNC_OK);
      require_equal(&other, &first);
      check_guards(&other);
    }
    mnnc_pool_destroy(pool);
  }
#endif
  REQUIRE(run_parallel((const void *const *)first.inputs, (void *const *)first.outputs, first.workspace, NULL) == MNNC_OK);
  require_equal(&second, &first);
  return 0;
}
