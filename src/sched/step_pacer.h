// How much of the prompts a step takes beside sequences that decode, so that those do not wait long for their next
// token.
#pragma once

#include <cstdint>

namespace arc {

// Learns from the steps there were: what decoding alone takes, and what a token of a prompt adds. One that took longer
// is believed at once, one that took less a little, so that most steps stay below the goal.
class StepPacer {
 public:
  struct Options {
    double goal_seconds =
        0.05;                   // of a step in which sequences decode; twice what decoding alone takes, if that is more
    int32_t least_tokens = 64;  // of prompts, whatever they take; tokens are given in multiples of this
    int32_t most_tokens = 512;  // before there is a measurement, too
  };
  explicit StepPacer(const Options& options) : options_(options) {}

  // Tokens of prompts for the next step in which sequences decode.
  int32_t prompt_tokens() const;
  // A step of `n_prompt_tokens`, beside `n_decoding` sequences, has taken so long.
  void took(int32_t n_prompt_tokens, int32_t n_decoding, double seconds);

 private:
  Options options_;
  double decode_seconds_ = 0, token_seconds_ = 0;  // 0: not known
};

}  // namespace arc
