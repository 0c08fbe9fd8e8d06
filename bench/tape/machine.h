// A tape with its memory on the device: filled from the generator, reset, run.
#pragma once

#include <vector>

#include "build_tape.h"
#include "tape_kernel.h"

namespace arc::tape {

class Machine {
 public:
  Machine(const Shape& shape, BuildOptions options);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Clears the buffers to bytes of 0xff and the step count to 0; the cache holds generated tokens before `position` and
  // 0xff bytes (NaN) from there on. The next step feeds `token`.
  void reset(int token, int position);

  // Runs up to n_steps steps in one launch; returns milliseconds, or ends the program.
  float run(int n_steps);
  float run_probe(int n_steps, const ProbeArgs& probe);
  void start(int n_steps);  // the same without waiting
  void finish();
  void ask_to_stop(bool stop) { *attention_ = stop; }

  StepState state() const;
  // Changes what probe launches wait for: bits of skip_waits by stage, layers alike.
  template <class BitsOf>
  void set_skips(BitsOf bits_of) {
    for (TapeStage& stage : tape_.stages) stage.skip_waits = bits_of(stage);
    upload_stages();
  }

  // Token drawn by a step; -1 while it has not been.
  int token_of(int step) const { return tokens_[step % kRing]; }

  const Tape& tape() const { return tape_; }
  const Slabs& slabs() const { return slabs_; }
  const std::vector<int32_t>& block_table() const { return block_table_; }

 private:
  static constexpr int kRing = 4096;
  float timed(const LaunchArgs& args, bool probe);
  void upload_stages();
  void fill_tensors();
  LaunchArgs launch_args(int n_steps) const;

  Tape tape_;
  Slabs slabs_;
  std::vector<int32_t> block_table_;
  TapeStage* stages_ = nullptr;
  DealShare* deals_ = nullptr;
  StepState* state_ = nullptr;
  volatile int* attention_ = nullptr;
  volatile int32_t* tokens_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace arc::tape
