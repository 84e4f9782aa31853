// Times a network on one thread and on several: threads [N].
//
// The network is resnet18.o, compiled by mnnc from an ONNX model; the thread pool is that of the mnnc runtime, but
// anything that fills in a `mnnc_parallel` will do.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "mnnc.h"
#include "resnet18.h"

// A model with memory to work in: one call at a time, any number of such objects.
class ResNet18 {
 public:
  // Logits of a picture, colour planes of 224x224. Without a pool it runs on the calling thread.
  std::vector<float> run(const std::vector<float> &picture, mnnc_parallel *pool) {
    if (picture.size() != RESNET18_INPUT_0_ELEMENTS) throw std::invalid_argument("the picture has another size");
    std::vector<float> logits(RESNET18_OUTPUT_0_ELEMENTS);
    const void *inputs[] = {picture.data()};
    void *outputs[] = {logits.data()};
    if (resnet18_run_parallel(inputs, outputs, workspace_.get(), pool) != MNNC_OK) {
      throw std::runtime_error("not for this processor");
    }
    return logits;
  }

 private:
  struct Free {
    void operator()(std::byte *p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> workspace_{
      static_cast<std::byte *>(::operator new(resnet18_workspace_size(), std::align_val_t{64}))};
};

int main(int argc, char **argv) try {
  const int most = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  std::vector<float> picture(RESNET18_INPUT_0_ELEMENTS);
  for (std::size_t i = 0; i < picture.size(); i++) picture[i] = static_cast<float>(i % 255) / 127 - 1;
  ResNet18 model;
  const std::vector<float> expected = model.run(picture, nullptr);
  for (int threads = 1; threads <= most; threads++) {
    std::unique_ptr<mnnc_parallel, decltype(&mnnc_pool_destroy)> pool(mnnc_pool_create(threads), mnnc_pool_destroy);
    if (!pool) throw std::runtime_error("no thread pool");
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
      const auto start = std::chrono::steady_clock::now();
      const std::vector<float> logits = model.run(picture, pool.get());
      best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
      if (logits != expected) throw std::runtime_error("several threads compute something else than one");
    }
    std::printf("%d thread%s %.2f ms\n", threads, threads == 1 ? ": " : "s:", best);
  }
} catch (const std::exception &e) {
  std::fprintf(stderr, "threads: %s\n", e.what());
  return 1;
}
