// From a text's last hidden states to its vector: an EmbeddingSpec with its weights. On the host, in double precision.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "spec/embedding_spec.h"

namespace arc {

// Takes the states of one text, token by token, in steps of any size.
class Pooler {
 public:
  // States of length `dim`; tokens before `first` do not count. `spec` outlives it.
  Pooler(const PoolingSpec& spec, int32_t dim, int32_t first);

  // Tokens in order; those that only the other modes need may be left out.
  void add(int32_t position, std::span<const float> state);

  // The modes' vectors side by side.
  std::vector<double> result() const;

 private:
  const PoolingSpec* spec_;
  int32_t first_ = 0, n_tokens_ = 0;
  double weights_ = 0.0;                                       // of the weighted mean
  std::vector<double> sum_, weighted_, largest_, cls_, last_;  // [dim]
};

class EmbeddingHead {
 public:
  // Reads the weights of dense layers from the model's folder. States are multiplied by `scale`. Throws Error that
  // names the file.
  EmbeddingHead(EmbeddingSpec spec, int32_t dim, double scale, const std::filesystem::path& folder);

  const EmbeddingSpec& spec() const { return spec_; }
  int32_t dim() const { return dim_; }  // of the states
  int32_t size() const { return embedding_size(spec_, dim_); }
  Pooler pooler(int32_t first) const { return {spec_.pooling, dim_, first}; }

  // What the modules make of a Pooler's result; `dimensions` as in EmbeddingParams.
  std::vector<float> finish(std::vector<double> pooled, int32_t dimensions) const;

 private:
  struct Matrix {
    std::vector<float> weight, bias;  // [out, in], [out]
  };

  EmbeddingSpec spec_;
  int32_t dim_ = 0;
  double scale_ = 1.0;
  std::vector<Matrix> matrices_;  // of the dense layers, in order
};

}  // namespace arc
