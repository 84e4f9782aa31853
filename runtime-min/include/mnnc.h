/* mnnc.h: what compiled models have in common, and the thread pool of the mnnc runtime.
 *
 * A compiled model NAME is used through NAME.h alone; this header is needed for the thread pool only.
 * Licence: Apache-2.0.
 */
#ifndef MNNC_H
#define MNNC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- ABI types: also in every NAME.h --- */
#ifndef MNNC_ABI_TYPES
#define MNNC_ABI_TYPES 1

/* Results of NAME_run and NAME_run_parallel. */
enum {
  MNNC_OK = 0,             /* done */
  MNNC_ERROR_CPU = 1,      /* the processor lacks what the code was compiled for */
  MNNC_ERROR_ARGUMENT = 2, /* the workspace is not aligned to 64 bytes */
  MNNC_ERROR_POOL = 3      /* the thread pool could not run the work */
};

/* Element types. 16-bit floats and bool (one byte, 0 or 1) have no C type of their own. */
enum mnnc_dtype {
  MNNC_F32 = 1, MNNC_F64 = 2, MNNC_F16 = 3, MNNC_BF16 = 4, MNNC_I8 = 5, MNNC_I16 = 6, MNNC_I32 = 7,
  MNNC_I64 = 8, MNNC_U8 = 9, MNNC_U16 = 10, MNNC_U32 = 11, MNNC_U64 = 12, MNNC_BOOL = 13
};

/* An input or output: dense, row-major. */
typedef struct mnnc_tensor {
  const char *name;           /* the model's own name */
  const uint64_t *dims;       /* rank sizes, outermost first; NULL for rank 0 */
  const float *scales;        /* real = scale * (stored - zero_point); NULL if not quantised */
  const int32_t *zero_points; /* NULL if all are zero */
  uint64_t bytes;             /* size of the whole tensor */
  uint32_t dtype;             /* enum mnnc_dtype */
  uint32_t rank;
  uint32_t num_scales;        /* 0 if not quantised */
  int32_t quant_axis;         /* dimension that the scales run along; -1: one scale for all */
} mnnc_tensor;

/* A model. */
typedef struct mnnc_model {
  uint32_t abi_version;       /* 1 */
  uint32_t num_inputs;
  uint32_t num_outputs;
  uint32_t reserved;
  const char *name;
  const mnnc_tensor *inputs;
  const mnnc_tensor *outputs;
  uint64_t workspace_size;    /* bytes */
  uint64_t weights_size;      /* bytes of constant data */
  const char *source_hash;    /* of the source model, in hex; may be empty */
  const char *target;         /* system and processors that the code is for */
  const char *compiler;       /* name and version */
} mnnc_model;

/* A way to run tasks on several threads. Any implementation will do; the mnnc runtime has one. */
typedef struct mnnc_parallel {
  /* Number of threads, the caller's among them, at least 1. */
  size_t threads;
  /* Calls task(context, i) for every i < threads, all at the same time, and returns when all have returned: 0 on
   * success. */
  int (*run)(struct mnnc_parallel *self, void (*task)(void *context, size_t index), void *context);
  /* Called by every task: returns once all have called it. */
  void (*barrier)(struct mnnc_parallel *self);
} mnnc_parallel;

#endif
/* --- end of the ABI types --- */

/* A pool of threads that sleep while there is nothing to do. `threads` counts the caller's; 0 means one for each
 * processor that this process may use. NULL if they are more than 1024, there is no memory, or a thread cannot be
 * started. One call at a time. */
mnnc_parallel *mnnc_pool_create(size_t threads);

/* Ends the pool's threads and frees it. NULL is allowed. */
void mnnc_pool_destroy(mnnc_parallel *pool);

/* Maps a file of weights read-only into memory; its size goes to *bytes. NULL on failure. */
const void *mnnc_map_file(const char *path, size_t *bytes);

/* Takes a mapping back. */
void mnnc_unmap_file(const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
