// Element by element: activations, gates, sums, soft caps, row gathering. Columns are dealt out in blocks.

constexpr int64_t kColumns = 512;  // of one block

// f(row, first column, columns) for all blocks of a [rows, cols] view.
template <typename F>
inline void for_blocks(const Team& team, int64_t rows, int64_t cols, F f) {
  const int64_t per_row = (cols + kColumns - 1) / kColumns;
  for (int64_t begin = 0, end = 0; claim(team, rows * per_row, kGrainElements / kColumns, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % per_row * kColumns;
      f(i / per_row, first, smaller(kColumns, cols - first));
    }
  }
}

inline Vec activate(const ActArgs& a, Vec gate, Vec up) {
  const Vec half = set1(0.5f), one = set1(1.0f), zero = set1(0.0f);
  switch (a.act) {
    case Act::silu:
      return silu_v(gate) * up;
    case Act::gelu:
      return half * gate * (one + erf_v(gate * set1(0.70710678118654752f))) * up;
    case Act::gelu_tanh: {
      const Vec inner = set1(0.79788456080286536f) * fma(set1(0.044715f) * gate * gate, gate, gate);
      return half * gate * (one + tanh_v(inner)) * up;
    }
    case Act::relu:
      return max(zero, gate) * up;
    case Act::clamped_swiglu:
      break;
  }
  const Vec limit = set1(a.limit), clamped = min(limit, gate);
  return clamped * sigmoid_v(set1(a.alpha) * clamped) * (max(zero - limit, min(limit, up)) + one);
}

void run(const ActArgs& a, const Operands& o) noexcept {
  // Runs of `hidden` columns are rows here: each reads gate | up side by side.
  const int64_t runs = o.writes[0].cols / a.hidden, in = a.gated ? 2 * a.hidden : a.hidden;
  for_blocks(o.team, o.reads[0].rows * runs, a.hidden, [&](int64_t row, int64_t first, int64_t n) {
    const float* x = row_of<float>(o.reads[0], row / runs) + row % runs * in + first;
    float* y = row_of<float>(o.writes[0], row / runs) + row % runs * a.hidden + first;
    for_vectors(n, [&](int64_t i, int64_t c) {
      const Vec up = a.gated ? load_part(x + a.hidden + i, c) : set1(1.0f);
      store_part(y + i, activate(a, load_part(x + i, c), up), c);
    });
  });
}

void run(const GateArgs&, const Operands& o) noexcept {
  const bool one_gate = o.reads[1].cols == 1;
  for_blocks(o.team, o.reads[0].rows, o.reads[0].cols, [&](int64_t row, int64_t first, int64_t n) {
    const float* x = row_of<float>(o.reads[0], row) + first;
    const float* g = row_of<float>(o.reads[1], row) + (one_gate ? 0 : first);
    float* y = row_of<float>(o.writes[0], row) + first;
    for_vectors(n, [&](int64_t i, int64_t c) {
      store_part(y + i, load_part(x + i, c) * sigmoid_v(one_gate ? set1(*g) : load_part(g + i, c)), c);
    });
  });
}

void run(const AddArgs& a, const Operands& o) noexcept {
  for_blocks(o.team, o.reads[0].rows, o.reads[0].cols, [&](int64_t row, int64_t first, int64_t n) {
    const float* x = row_of<float>(o.reads[0], row) + first;
    float* y = row_of<float>(o.writes[0], row) + first;
    for_vectors(n, [&](int64_t i, int64_t c) {
      store_part(y + i, load_part(y + i, c) + set1(a.scale) * load_part(x + i, c), c);
    });
  });
}

void run(const SoftcapArgs& a, const Operands& o) noexcept {
  for_blocks(o.team, o.writes[0].rows, o.writes[0].cols, [&](int64_t row, int64_t first, int64_t n) {
    float* y = row_of<float>(o.writes[0], row) + first;
    for_vectors(n, [&](int64_t i, int64_t c) {
      store_part(y + i, set1(a.cap) * tanh_v(load_part(y + i, c) / set1(a.cap)), c);
    });
  });
}

void run(const GatherArgs&, const Operands& o) noexcept {
  for_blocks(o.team, o.step->n_rows, o.reads[0].cols, [&](int64_t row, int64_t first, int64_t n) {
    const float* x = row_of<float>(o.reads[0], o.step->rows[row]) + first;
    __builtin_memcpy(row_of<float>(o.writes[0], row) + first, x, static_cast<size_t>(n) * sizeof(float));
  });
}

void run(const ExpertSumArgs& a, const Operands& o) noexcept {
  const int64_t cols = o.writes[0].cols;
  for_blocks(o.team, o.reads[0].rows, cols, [&](int64_t row, int64_t first, int64_t n) {
    const float* x = row_of<float>(o.reads[0], row) + first;
    const float* weights = row_of<float>(o.reads[1], row);
    float* y = row_of<float>(o.writes[0], row) + first;
    for_vectors(n, [&](int64_t i, int64_t c) {
      Vec total = set1(0.0f);
      for (int32_t j = 0; j < a.top_k; ++j) total = fma(set1(weights[j]), load_part(x + j * cols + i, c), total);
      store_part(y + i, total, c);
    });
  });
}
