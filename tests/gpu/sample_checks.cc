// The device's sampler against the host's: the same tokens for the same logits, whatever a row asks for.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>

#include "fmt/format.h"

#include "exec/cuda/device_sampler.h"
#include "exec/sample_row.h"
#include "gpu/checks.h"
#include "sample/test_shapes.h"
#include "sample/test_statistics.h"
#include "tensor/device_memory.h"

namespace arc::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Ways of making a row of logits.
enum class Kind {
  normal,
  peaked,
  flat,
  levels,
  mostly_impossible,
  one_possible,
  none_possible,
  nan,
  infinite,
  zeros,
  count
};

void make_logits(Kind kind, std::mt19937& random, std::span<float> logits) {
  std::normal_distribution<float> normal(0.0f, kind == Kind::peaked ? 12.0f : 2.5f);
  for (float& x : logits) x = normal(random);
  const size_t one = random() % logits.size();
  switch (kind) {
    case Kind::flat:
      std::ranges::fill(logits, 1.25f);
      break;
    case Kind::levels:
      for (float& x : logits) x = std::round(x);
      break;
    case Kind::mostly_impossible:
      for (float& x : logits) x = random() % 50 == 0 ? x : -kInf;
      break;
    case Kind::one_possible:
    case Kind::none_possible:
      std::ranges::fill(logits, -kInf);
      if (kind == Kind::one_possible) logits[one] = 3.0f;
      break;
    case Kind::nan:
      logits[one] = std::numeric_limits<float>::quiet_NaN();
      break;
    case Kind::infinite:
      logits[one] = kInf;
      break;
    case Kind::zeros:
      for (float& x : logits) x = random() % 2 == 0 ? 0.0f : -0.0f;
      break;
    default:
      break;
  }
}

// A step's rows with everything that the sampler knows, at random.
class Rows {
 public:
  Rows(int n, int32_t vocab, std::mt19937& random, bool plain = false)
      : logits_(Tensor::zeros({n, vocab}, DType::f32)) {
    const auto one_of = [&](auto... values) {
      const std::common_type_t<decltype(values)...> all[] = {values...};
      return all[random() % sizeof...(values)];
    };
    for (int r = 0; r < n; ++r) {
      const auto kind = plain ? Kind::normal : static_cast<Kind>(random() % static_cast<unsigned>(Kind::count));
      make_logits(kind, random, {logits_.as<float>() + int64_t{r} * vocab, static_cast<size_t>(vocab)});
      SamplingRow row{.temperature = one_of(0.0f, 0.3f, 0.7f, 1.0f, 2.5f),
                      .top_p = one_of(1.0f, 1.0f, 0.95f, 0.5f, 0.01f, 0.0f),
                      .min_p = one_of(0.0f, 0.0f, 0.05f, 0.5f, 1.0f),
                      .top_k = one_of(0, 0, 1, 2, 20, 50, 1000, 5000, vocab, vocab + 5),
                      .n_logprobs = one_of(-1, -1, 0, 1, 5, 128),
                      .seed = random(),
                      .sequence = static_cast<uint32_t>(random() % 4),
                      .position = static_cast<uint32_t>(random() % 5000)};
      if (one_of(0, 1) == 1) {
        row.repetition_penalty = one_of(1.0f, 1.3f, 0.8f);
        row.frequency_penalty = one_of(0.0f, 0.4f);
        row.presence_penalty = one_of(0.0f, 0.9f);
        row.counts_row = static_cast<int32_t>(counts_.size() / static_cast<size_t>(vocab));
        for (int32_t t = 0; t < vocab; ++t) {
          const auto n = static_cast<uint32_t>(random() % 4);
          counts_.push_back(random() % 9 != 0 ? 0 : random() % 2 == 0 ? n : n | kInPrompt);
        }
      }
      if (one_of(0, 0, 1) == 1) {
        row.mask_row = static_cast<int32_t>(masks_.size() / static_cast<size_t>(mask_words(vocab)));
        const unsigned share = one_of(1u, 2u, 31u);
        for (int32_t w = 0; w < mask_words(vocab); ++w) {
          masks_.push_back(share == 2 ? static_cast<uint32_t>(random()) : share == 1 ? 0 : 1u << random() % 32);
        }
      }
      row.bias_begin = static_cast<int32_t>(biases_.size());
      if (one_of(0, 0, 1) == 1) {
        for (int32_t t = static_cast<int32_t>(random() % 7); t < vocab;
             t += 1 + static_cast<int32_t>(random() % static_cast<unsigned>(vocab))) {
          biases_.push_back({.token = t, .value = one_of(-100.0f, 3.0f, 8.0f, -kInf)});
        }
      }
      row.bias_count = static_cast<int32_t>(biases_.size()) - row.bias_begin;
      sampling_.push_back(row);
      row_token_.push_back(one_of(0, 0, 0, 1) == 1 ? static_cast<int32_t>(random() % static_cast<unsigned>(vocab))
                                                   : -1);
    }
    inputs_.n_rows = n;
    inputs_.sampling = sampling_.data();
    inputs_.row_token = row_token_.data();
    inputs_.tables = {.biases = biases_.data(), .counts = counts_.data(), .allowed = masks_.data()};
  }

  const StepInputs& inputs() const { return inputs_; }
  const Tensor& logits() const { return logits_; }
  std::vector<SamplingRow>& sampling() { return sampling_; }

  RowResult expected(int r, Sampler& sampler) const {
    RowResult result;
    sample_row(sampler, inputs_, logits_.view(), r, result);
    return result;
  }

 private:
  Tensor logits_;
  std::vector<SamplingRow> sampling_;
  std::vector<int32_t> row_token_;
  std::vector<uint32_t> counts_, masks_;
  std::vector<BiasEntry> biases_;
  StepInputs inputs_;
};

// Log-probabilities are sums of many terms in double: they may differ in the last place of a float.
bool same_logprob(float a, float b) {
  return a == b || std::fabs(a - b) <= 2e-7f * std::fmax(1.0f, std::fabs(b));
}

std::string difference(const RowResult& got, const RowResult& expected, bool logprobs) {
  if (got.outcome != expected.outcome)
    return fmt::format("outcome {} instead of {}", static_cast<int>(got.outcome), static_cast<int>(expected.outcome));
  if (expected.outcome != SampleOutcome::ok) return {};
  if (got.token != expected.token) return fmt::format("token {} instead of {}", got.token, expected.token);
  if (!logprobs) return {};
  if (!same_logprob(got.logprob, expected.logprob))
    return fmt::format("logprob {:.9g} instead of {:.9g}", got.logprob, expected.logprob);
  if (got.top.size() != expected.top.size())
    return fmt::format("{} top tokens instead of {}", got.top.size(), expected.top.size());
  for (size_t i = 0; i < got.top.size(); ++i) {
    if (got.top[i].token != expected.top[i].token || !same_logprob(got.top[i].logprob, expected.top[i].logprob))
      return fmt::format("top {}: {} ({:.9g}) instead of {} ({:.9g})", i, got.top[i].token, got.top[i].logprob,
                         expected.top[i].token, expected.top[i].logprob);
  }
  return {};
}

class OnDevice {
 public:
  OnDevice(int32_t rows, int32_t vocab, Device device)
      : device_(device), sampler_(rows, vocab, device), logits_(Tensor::zeros({rows, vocab}, DType::f32, device)) {}

  void run(const Rows& rows) {
    copy_bytes(logits_.data(), device_, rows.logits().data(), {}, rows.logits().size_bytes());
    draw(rows.inputs());
  }
  void wait() {
    float f = 0.0f;
    copy_bytes(reinterpret_cast<std::byte*>(&f), {}, logits_.data(), device_, sizeof f);
  }
  // From the logits that are there.
  void draw(const StepInputs& inputs) {
    sampler_.upload(inputs, nullptr);
    sampler_.launch(logits_.as<float>(), inputs.n_rows, nullptr);
    sampler_.fetch(nullptr);
    wait();
  }
  void set_logits(const std::vector<float>& logits) {
    for (int64_t r = 0; r < logits_.shape()[0]; ++r)
      copy_bytes(reinterpret_cast<std::byte*>(logits_.as<float>() + r * static_cast<int64_t>(logits.size())), device_,
                 reinterpret_cast<const std::byte*>(logits.data()), {}, logits.size() * sizeof(float));
  }
  double launch_us(const Rows& rows, int n) {
    run(rows);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < n; ++i) sampler_.launch(logits_.as<float>(), rows.inputs().n_rows, nullptr);
    wait();
    return 1e6 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / n;
  }
  DeviceSampler& sampler() { return sampler_; }

 private:
  Device device_;
  DeviceSampler sampler_;
  Tensor logits_;
};

Finding compare(int32_t vocab, int n_rows, int rounds, Device device) {
  Finding finding;
  std::mt19937 random(static_cast<unsigned>(vocab) * 31 + static_cast<unsigned>(n_rows));
  OnDevice on_device(n_rows, vocab, device);
  Sampler sampler(vocab);
  int n = 0, n_host = 0, n_drawn = 0, n_logprobs = 0;
  for (int round = 0; round < rounds; ++round) {
    const Rows rows(n_rows, vocab, random);
    on_device.run(rows);
    for (int r = 0; r < n_rows; ++r, ++n) {
      if (on_device.sampler().on_host(r)) {
        ++n_host;
        continue;
      }
      RowResult got;
      on_device.sampler().result(r, got);
      const RowResult expected = rows.expected(r, sampler);
      const SamplingRow& row = rows.inputs().sampling[r];
      n_drawn += expected.outcome == SampleOutcome::ok && row.temperature > 0.0f;
      n_logprobs += expected.outcome == SampleOutcome::ok && row.n_logprobs >= 0;
      const std::string what = difference(got, expected, row.n_logprobs >= 0);
      if (!what.empty() && finding.details.size() < 20) {
        finding.fail(
            fmt::format("round {} row {}: {} (temperature {}, top_k {}, top_p {}, min_p {}, counts {}, mask {}, biases "
                        "{}, given {})",
                        round, r, what, row.temperature, row.top_k, row.top_p, row.min_p, row.counts_row, row.mask_row,
                        row.bias_count, rows.inputs().row_token[r]));
      }
    }
  }
  finding.details.push_back(fmt::format("{} rows: {} drawn at a temperature, {} with logprobs, {} left to the host", n,
                                        n_drawn, n_logprobs, n_host));
  return finding;
}

// The draws of one request, its vocabulary filled up with impossible tokens, against the reference in double: the
// probability of a fit as bad or worse.
double goodness(const Shape& shape, uint64_t seed, int64_t n_draws, OnDevice& on_device, int32_t n_rows, int32_t vocab,
                Finding& finding) {
  Shape wide = shape;
  wide.logits.resize(static_cast<size_t>(vocab), -kInf);
  Inputs in = inputs_of(wide, seed);
  if (shape.prompt.empty() && shape.output.empty()) in.row.counts_row = -1;
  on_device.set_logits(wide.logits);
  std::vector<SamplingRow> sampling(static_cast<size_t>(n_rows), in.row);
  StepInputs inputs{.n_rows = n_rows};
  inputs.sampling = sampling.data();
  inputs.tables = in.tables();
  std::vector<int64_t> observed(wide.logits.size());
  const std::vector<double> expected = reference(wide);
  RowResult result;
  for (int64_t done = 0; done < n_draws; done += n_rows) {
    for (int32_t r = 0; r < n_rows; ++r) sampling[static_cast<size_t>(r)].position = static_cast<uint32_t>(done + r);
    on_device.draw(inputs);
    for (int32_t r = 0; r < n_rows; ++r) {
      on_device.sampler().result(r, result);
      if (result.outcome != SampleOutcome::ok || expected[static_cast<size_t>(result.token)] == 0) {
        finding.fail(fmt::format("{}: token {} is not allowed", shape.name, result.token));
        return 0.0;
      }
      ++observed[static_cast<size_t>(result.token)];
    }
  }
  return goodness_of_fit_p(observed, expected);
}

// The requests of the CPU's statistical test.
Finding statistics(Device device) {
  constexpr int32_t kRows = 64, kVocab = 151936;
  constexpr int64_t kDraws = 100'000;
  Finding finding;
  OnDevice on_device(kRows, kVocab, device);
  std::vector<double> p_values;
  uint64_t seed = 0;
  for (const Shape& shape : shapes()) {
    p_values.push_back(goodness(shape, ++seed, kDraws, on_device, kRows, kVocab, finding));
    if (p_values.back() <= 0.0005) finding.fail(fmt::format("{}: p = {:.2g}", shape.name, p_values.back()));
  }
  const double uniform = uniformity_p(p_values);
  if (uniform <= 0.01) finding.fail(fmt::format("the p-values are not uniform: p = {:.2g}", uniform));
  finding.details.push_back(fmt::format("{} requests, {} draws each: p from {:.3f} to {:.3f}, uniform with p = {:.3f}",
                                        p_values.size(), kDraws, std::ranges::min(p_values), std::ranges::max(p_values),
                                        uniform));
  return finding;
}

struct Timed {
  const char* name;
  SamplingRow row;
};

Finding times(Device device) {
  const Timed cases[] = {
      {"greedy", {.temperature = 0.0f}},
      {"temperature", {.temperature = 0.8f}},
      {"top-p 0.95", {.temperature = 0.8f, .top_p = 0.95f}},
      {"top-k 20, top-p 0.95", {.temperature = 0.8f, .top_p = 0.95f, .top_k = 20}},
      {"greedy, 5 logprobs", {.temperature = 0.0f, .n_logprobs = 5}},
  };
  constexpr int32_t kVocab = 151936;
  Finding finding;
  std::mt19937 random(3);
  for (const int n : {1, 8, 64}) {
    OnDevice on_device(n, kVocab, device);
    Rows rows(n, kVocab, random, true);
    std::string text = fmt::format("us for {} rows of {}:", n, kVocab);
    for (const Timed& c : cases) {
      for (SamplingRow& row : rows.sampling()) row = c.row;
      text += fmt::format(" {} {:.1f};", c.name, on_device.launch_us(rows, 50));
    }
    finding.details.push_back(text);
  }
  return finding;
}

void sampling(Report& report, const Target& target) {
  if (target.backend == nullptr) return report.skip("same tokens as the host", "no device");
  const Device device{.kind = Device::Kind::cuda};
  for (const int32_t vocab : {1, 2, 31, 63, 64, 65, 1000, 4099}) {
    report.check(fmt::format("same tokens as the host, vocabulary {}", vocab),
                 [&] { return compare(vocab, 33, 12, device); });
  }
  report.check("same tokens as the host, vocabulary 32000", [&] { return compare(32000, 70, 3, device); });
  report.check("same tokens as the host, vocabulary 151936", [&] { return compare(151936, 64, 2, device); });
  report.check("draws fit the reference, vocabulary 151936", [&] { return statistics(device); });
  report.check("time", [&] { return times(device); });
}

}  // namespace

void add_sample_suites(std::vector<Suite>& suites) {
  suites.push_back({"sample/rows", sampling});
}

}  // namespace arc::test
