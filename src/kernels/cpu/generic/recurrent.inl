// The recurrent parts of gated DeltaNet and Mamba-2. A sequence's state is read from one slot and written to another
// (or the same).

// `bytes` of sequence s's state at `offset`, to be updated in place: what the read slot holds, in the write slot.
inline float* begin_state(const Operands& o, int32_t group, int64_t s, int64_t offset, int64_t bytes) {
  const GroupInputs& inputs = o.step->groups[group];
  std::byte* out = o.state.data + inputs.state_write[s] * o.state.slot_bytes + offset;
  if (inputs.state_read[s] < 0) {
    __builtin_memset(out, 0, static_cast<size_t>(bytes));
  } else if (inputs.state_read[s] != inputs.state_write[s]) {
    __builtin_memcpy(out, o.state.data + inputs.state_read[s] * o.state.slot_bytes + offset,
                     static_cast<size_t>(bytes));
  }
  return reinterpret_cast<float*>(out);
}

// 16 channels (or the last n) over a sequence's tokens. The state is [past, channels], oldest first.
inline void convolve(const ConvArgs& a, const Operands& o, int64_t s, int64_t first, int64_t n) {
  const int64_t past = a.kernel - 1;
  const float* weight = static_cast<const float*>(o.weights[0].data) + first * a.kernel;
  const auto tap = [&](int64_t i) {
    float lanes[16] = {};
    for (int64_t c = 0; c < n; ++c) lanes[c] = weight[c * a.kernel + i];
    return load(lanes);
  };
  const auto row = [&](int64_t i) {
    return begin_state(o, a.group, s, a.state_offset + (i * a.channels + first) * 4, n * 4);
  };
  for (int64_t i = 0; i < past; ++i) row(i);
  const GroupInputs& inputs = o.step->groups[a.group];
  float* state = reinterpret_cast<float*>(o.state.data + inputs.state_write[s] * o.state.slot_bytes + a.state_offset);
  state += first;
  const Vec bias = o.weights[0].bias != nullptr ? load_part(o.weights[0].bias + first, n) : set1(0.0f);
  for (int64_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
    const Vec newest = load_part(row_of<float>(o.reads[0], t) + first, n);
    Vec total = bias;
    for (int64_t i = 0; i < past; ++i) {
      const Vec old = load_part(state + i * a.channels, n);
      total = fma(tap(i), old, total);
      if (i > 0) store_part(state + (i - 1) * a.channels, old, n);
    }
    if (past > 0) store_part(state + (past - 1) * a.channels, newest, n);
    store_part(row_of<float>(o.writes[0], t) + first, silu_v(fma(tap(past), newest, total)), n);
  }
}

void run(const ConvArgs& a, const Operands& o) noexcept {
  const int64_t per_row = (a.channels + 15) / 16;
  for (int64_t begin = 0, end = 0; claim(o.team, o.step->n_seqs * per_row, 16, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % per_row * 16;
      convolve(a, o, i / per_row, first, smaller<int64_t>(16, a.channels - first));
    }
  }
}

inline float inverse_norm(const float* x, int64_t n) {
  const float square = sum_over(n, [&](int64_t i, int64_t c) {
    const Vec v = load_part(x + i, c);
    return v * v;
  });
  return 1.0f / __builtin_sqrtf(square + 1e-6f);
}

// One token of one value head. Keys and queries are scaled as they are read.
struct DeltaStep {
  const float *q, *k, *v;
  float q_scale, k_scale, decay, beta;
  float* out;
};

// 16 value columns (or the last n): the state [key_dim, value_dim] decays, learns v, and answers q.
inline void delta_columns(const DeltaArgs& a, float* state, const DeltaStep& step, int64_t first, int64_t n) {
  const Vec decay = set1(step.decay);
  Vec remembered[2] = {set1(0.0f), set1(0.0f)};
  for (int64_t i = 0; i < a.key_dim; ++i) {
    Vec& part = remembered[i % 2];
    part = fma(set1(step.k[i] * step.k_scale), load_part(state + i * a.value_dim + first, n), part);
  }
  const Vec known = decay * (remembered[0] + remembered[1]);
  const Vec correction = set1(step.beta) * (load_part(step.v + first, n) - known);
  Vec answer[2] = {set1(0.0f), set1(0.0f)};
  for (int64_t i = 0; i < a.key_dim; ++i) {
    float* cells = state + i * a.value_dim + first;
    const Vec cell = fma(set1(step.k[i] * step.k_scale), correction, decay * load_part(cells, n));
    store_part(cells, cell, n);
    Vec& part = answer[i % 2];
    part = fma(cell, set1(step.q[i] * step.q_scale), part);
  }
  store_part(step.out + first, answer[0] + answer[1], n);
}

// Scalars once per token and head, in double as the reference: a decay close to 1 acts over many tokens.
inline DeltaStep delta_scalars(const DeltaArgs& a, const Operands& o, int64_t t, int64_t h) {
  const float* q = row_of<float>(o.reads[0], t);
  const float* b = row_of<float>(o.reads[1], t);
  const int64_t key_head = h / (a.value_heads / a.key_heads), key_cols = int64_t{a.key_heads} * a.key_dim;
  const double dt = static_cast<double>(b[a.value_heads + h]) + static_cast<const float*>(o.weights[0].data)[h];
  const double rate = __builtin_exp(static_cast<double>(static_cast<const float*>(o.weights[1].data)[h]));
  const double softplus = dt > 20.0 ? dt : __builtin_log1p(__builtin_exp(dt));
  DeltaStep step{.q = q + key_head * a.key_dim,
                 .k = q + key_cols + key_head * a.key_dim,
                 .v = q + 2 * key_cols + h * a.value_dim,
                 .decay = static_cast<float>(__builtin_exp(-rate * softplus)),
                 .beta = static_cast<float>(1.0 / (1.0 + __builtin_exp(-static_cast<double>(b[h])))),
                 .out = row_of<float>(o.writes[0], t) + h * a.value_dim};
  step.q_scale = inverse_norm(step.q, a.key_dim) / __builtin_sqrtf(static_cast<float>(a.key_dim));
  step.k_scale = inverse_norm(step.k, a.key_dim);
  return step;
}

void run(const DeltaArgs& a, const Operands& o) noexcept {
  const int64_t head_cells = int64_t{a.key_dim} * a.value_dim;
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_seqs} * a.value_heads, 1, begin, end);) {
    const int64_t s = begin / a.value_heads, h = begin % a.value_heads;
    float* state = begin_state(o, a.group, s, a.state_offset + h * head_cells * 4, head_cells * 4);
    for (int64_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const DeltaStep step = delta_scalars(a, o, t, h);
      for_vectors(a.value_dim, [&](int64_t first, int64_t n) { delta_columns(a, state, step, first, n); });
    }
  }
}

// One token of one Mamba-2 head.
struct SsmStep {
  const float *x, *b, *c;
  float decay, dt, d;
  float* out;
};

// 16 columns of a head (or the last n): the state [state_dim, head_dim] decays, takes x in along B, and is read along
// C.
inline void ssm_columns(const SsmArgs& a, float* state, const SsmStep& step, int64_t first, int64_t n) {
  const Vec decay = set1(step.decay), x = load_part(step.x + first, n), input = set1(step.dt) * x;
  Vec answer[2] = {set1(step.d) * x, set1(0.0f)};
  for (int64_t i = 0; i < a.state_dim; ++i) {
    float* cells = state + i * a.head_dim + first;
    const Vec cell = fma(set1(step.b[i]), input, decay * load_part(cells, n));
    store_part(cells, cell, n);
    Vec& part = answer[i % 2];
    part = fma(cell, set1(step.c[i]), part);
  }
  store_part(step.out + first, answer[0] + answer[1], n);
}

inline SsmStep ssm_scalars(const SsmArgs& a, const Operands& o, int64_t t, int64_t h) {
  const auto weight = [&](int64_t i) { return static_cast<double>(static_cast<const float*>(o.weights[i].data)[h]); };
  const float* x = row_of<float>(o.reads[0], t);
  const int64_t width = int64_t{a.heads} * a.head_dim, group = h / (a.heads / a.groups);
  const double raw = static_cast<double>(row_of<float>(o.reads[1], t)[h]) + weight(0);
  const double softplus = raw > 20.0 ? raw : __builtin_log1p(__builtin_exp(raw));
  const double dt = smaller(larger(softplus, a.dt_min), a.dt_max);
  return {.x = x + h * a.head_dim,
          .b = x + width + group * a.state_dim,
          .c = x + width + (a.groups + group) * a.state_dim,
          .decay = static_cast<float>(__builtin_exp(-__builtin_exp(weight(1)) * dt)),
          .dt = static_cast<float>(dt),
          .d = static_cast<float>(weight(2)),
          .out = row_of<float>(o.writes[0], t) + h * a.head_dim};
}

void run(const SsmArgs& a, const Operands& o) noexcept {
  const int64_t head_cells = int64_t{a.state_dim} * a.head_dim;
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_seqs} * a.heads, 1, begin, end);) {
    const int64_t s = begin / a.heads, h = begin % a.heads;
    float* state = begin_state(o, a.group, s, a.state_offset + h * head_cells * 4, head_cells * 4);
    for (int64_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const SsmStep step = ssm_scalars(a, o, t, h);
      for_vectors(a.head_dim, [&](int64_t first, int64_t n) { ssm_columns(a, state, step, first, n); });
    }
  }
}
