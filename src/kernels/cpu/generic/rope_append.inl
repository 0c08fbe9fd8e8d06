// Rotation of heads, and writing keys and values into the cache.

// Scratch holds the step's table: per token the cosines of all pairs, then the sines (op_scratch.h).
void run(const RopeArgs& a, const Operands& o) noexcept {
  const int64_t half = a.dims / 2;
  const float* table = reinterpret_cast<const float*>(o.scratch);
  const int64_t grain = larger<int64_t>(1, kGrainElements / a.dims);
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_tokens} * a.heads, grain, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i / a.heads, h = i % a.heads;
      const float* x = row_of<float>(o.reads[0], t) + h * a.in_stride;
      float* y = row_of<float>(o.writes[0], t) + h * a.out_stride;
      const float *cosines = table + t * a.dims, *sines = cosines + half;
      for_vectors(half, [&](int64_t d, int64_t n) {
        const Vec left = load_part(x + d, n), right = load_part(x + half + d, n);
        const Vec c = load_part(cosines + d, n), s = load_part(sines + d, n);
        store_part(y + d, left * c - right * s, n);
        store_part(y + half + d, right * c + left * s, n);
      });
    }
  }
}

// `n` floats to the cache's type.
inline void store_row(DType dtype, std::byte* out, const float* x, int64_t n) {
  if (n % 16 != 0) return from_float(dtype, x, out, static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i += 16) {
    if (dtype == DType::f32) {
      store(reinterpret_cast<float*>(out) + i, load(x + i));
    } else if (dtype == DType::bf16) {
      store_bf16(out + 2 * i, load(x + i));
    } else {
      store_f16(out + 2 * i, load(x + i));
    }
  }
}

void run(const AppendArgs& a, const Operands& o) noexcept {
  const int64_t* slots = o.step->groups[a.group].slots;
  const DType dtype = o.kv.policy.raw;
  const int64_t k_bytes = a.k_dim * element_bytes(dtype), v_bytes = a.v_dim * element_bytes(dtype);
  const int64_t grain = larger<int64_t>(1, kGrainElements / (a.k_dim + a.v_dim));
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_tokens} * a.kv_heads, grain, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i / a.kv_heads, h = i % a.kv_heads;
      const int64_t block = slots[t] / o.kv.tokens_per_block, offset = slots[t] % o.kv.tokens_per_block;
      std::byte* head = o.kv.data + block * o.kv.block_bytes + h * o.kv.head_bytes;
      store_row(dtype, head + offset * k_bytes, row_of<float>(o.reads[0], t) + h * a.k_dim, a.k_dim);
      if (a.v_dim == 0) continue;
      store_row(dtype, head + o.kv.v_offset_bytes + offset * v_bytes, row_of<float>(o.reads[1], t) + h * a.v_dim,
                a.v_dim);
    }
  }
}
