/* Runs one kernel: reads a job file, calls the code, writes the buffers.
 * Job: u64 code bytes, number of buffers, begin, end, then the size of each buffer; the code; the buffers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef void kernel(unsigned char **args, size_t begin, size_t end);

/* Calls the kernel with known values in the callee-saved halves of v8 to v15 and fails if they change. */
static int call(kernel *k, unsigned char **args, size_t begin, size_t end) {
    register double d8 __asm__("d8") = 8.5, d9 __asm__("d9") = 9.5, d12 __asm__("d12") = 12.5, d15 __asm__("d15") = 15.5;
    register long x19 __asm__("x19") = 1919, x22 __asm__("x22") = 2222, x28 __asm__("x28") = 2828;
    __asm__ volatile("" : "+w"(d8), "+w"(d9), "+w"(d12), "+w"(d15), "+r"(x19), "+r"(x22), "+r"(x28));
    k(args, begin, end);
    __asm__ volatile("" : "+w"(d8), "+w"(d9), "+w"(d12), "+w"(d15), "+r"(x19), "+r"(x22), "+r"(x28));
    return d8 == 8.5 && d9 == 9.5 && d12 == 12.5 && d15 == 15.5 && x19 == 1919 && x22 == 2222 && x28 == 2828;
}

int main(int argc, char **argv) {
    uint64_t head[4], sizes[16];
    unsigned char *args[16];
    if (argc != 3) return 2;
    FILE *in = fopen(argv[1], "rb");
    if (!in || fread(head, 8, 4, in) != 4 || head[1] > 16 || fread(sizes, 8, head[1], in) != head[1]) return 2;
    void *code = mmap(0, head[0], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED || fread(code, 1, head[0], in) != head[0]) return 2;
    if (mprotect(code, head[0], PROT_READ | PROT_EXEC)) return 2;
    __builtin___clear_cache((char *)code, (char *)code + head[0]);
    for (uint64_t i = 0; i < head[1]; i++) {
        args[i] = aligned_alloc(64, (sizes[i] + 127) / 64 * 64);
        if (!args[i] || fread(args[i], 1, sizes[i], in) != sizes[i]) return 2;
    }
    fclose(in);
    if (!call((kernel *)code, args, head[2], head[3])) {
        fprintf(stderr, "the kernel changed a register that it must preserve\n");
        return 3;
    }
    FILE *out = fopen(argv[2], "wb");
    if (!out) return 2;
    for (uint64_t i = 0; i < head[1]; i++) {
        if (fwrite(args[i], 1, sizes[i], out) != sizes[i]) return 2;
    }
    return fclose(out) ? 2 : 0;
}
