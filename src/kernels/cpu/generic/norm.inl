// Root-mean-square and layer norms, each run of `cols` columns on its own. Sums in f32: four vectors of partial sums,
// dealt by column.

inline float root(float x) {
  return __builtin_sqrtf(x);
}

inline void norm_run(const NormArgs& a, const float* x, const float* weight, const float* bias, float* y) {
  const int64_t n = a.cols;
  const float count = static_cast<float>(n);
  Vec mean = set1(0.0f);
  if (a.kind == NormKind::layer)
    mean = set1(sum_over(n, [&](int64_t i, int64_t c) { return load_part(x + i, c); }) / count);
  const float square = sum_over(n, [&](int64_t i, int64_t c) {
    const Vec d = load_part(x + i, c) - first_lanes(mean, c);
    return d * d;
  });
  const Vec scale = set1(1.0f / root(square / count + a.eps));
  for_vectors(n, [&](int64_t i, int64_t c) {
    const Vec normed = (load_part(x + i, c) - mean) * scale * load_part(weight + i, c);
    store_part(y + i, bias != nullptr ? normed + load_part(bias + i, c) : normed, c);
  });
}

void run(const NormArgs& a, const Operands& o) noexcept {
  const float* weight = static_cast<const float*>(o.weights[0].data);
  const float* bias = o.weights[0].bias;
  for_runs(o.team, o.reads[0].rows, o.reads[0].cols, a.cols, [&](int64_t row, int64_t col) {
    norm_run(a, row_of<float>(o.reads[0], row) + col, weight, bias, row_of<float>(o.writes[0], row) + col);
  });
}

void run(const GatedNormArgs& a, const Operands& o) noexcept {
  const float* weight = static_cast<const float*>(o.weights[0].data);
  const int64_t n = a.cols;
  for_runs(o.team, o.reads[0].rows, o.reads[0].cols, a.cols, [&](int64_t row, int64_t col) {
    const float* x = row_of<float>(o.reads[0], row) + col;
    const float* z = row_of<float>(o.reads[1], row) + col;
    float* y = row_of<float>(o.writes[0], row) + col;
    const float square = sum_over(n, [&](int64_t i, int64_t c) {
      const Vec v = a.gate_first ? load_part(x + i, c) * silu_v(load_part(z + i, c)) : load_part(x + i, c);
      return v * v;
    });
    const Vec scale = set1(1.0f / root(square / static_cast<float>(n) + a.eps));
    for_vectors(n, [&](int64_t i, int64_t c) {
      store_part(y + i, load_part(x + i, c) * scale * load_part(weight + i, c) * silu_v(load_part(z + i, c)), c);
    });
  });
}
