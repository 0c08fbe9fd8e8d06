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

// `n` floats to a raw cache.
inline void store_raw(DType dtype, std::byte* out, const float* x, int64_t n) {
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

// Row `t` of a head's keys or values goes where its slot says.
inline void append_row(const AppendArgs& a, const Operands& o, int64_t t, int64_t head, KvRole role) {
  const bool key = role == KvRole::key, tiled = a.open_group >= 0;
  const int64_t slot = o.step->groups[tiled ? a.open_group : a.group].slots[t];
  const int64_t dim = key ? a.k_dim : a.v_dim, token = slot % kTileTokens;
  const KvTile tile =
      kv_tile(tiled ? o.open : o.kv, slot / kTileTokens, static_cast<int32_t>(head), static_cast<int32_t>(dim), role);
  const float* x = row_of<float>(o.reads[key ? 0 : 1], t) + head * dim;
  float turned[kMaxTiledDim];
  if (tiled) {
    for_vectors(dim, [&](int64_t i, int64_t n) { store_part(turned + i, load_part(x + i, n), n); });
    rotate(key ? *o.kv.k_turbo : *o.kv.v_turbo, turned);
    x = turned;
  }
  if (tile.codec != KvPolicy::Codec::raw) return store_row(tile, static_cast<int32_t>(token), x);
  store_raw(tile.raw, tile.data + token * dim * element_bytes(tile.raw), x, dim);
}

// Tiles that a sequence's tokens of this step fill.
struct FullTiles {
  int64_t first = 0, count = 0;
};
inline FullTiles full_tiles(const Operands& o, int64_t sequence) {
  const int64_t begin = o.step->q_start[sequence];
  if (begin == o.step->q_start[sequence + 1]) return {};
  const int64_t first = o.step->positions[begin] / kTileTokens;
  return {first, o.step->seq_lens[sequence] / kTileTokens - first};
}

inline void seal_head(const AppendArgs& a, const Operands& o, int64_t sequence, int64_t tile, int32_t head) {
  const auto block = [&](int32_t group) {
    const GroupInputs& in = o.step->groups[group];
    return int64_t{in.block_table[sequence * in.table_stride + tile]};
  };
  const int64_t from = block(a.open_group), to = block(a.group);
  seal(kv_tile(o.open, from, head, a.k_dim, KvRole::key), kv_tile(o.kv, to, head, a.k_dim, KvRole::key), trellis_walk);
  seal(kv_tile(o.open, from, head, a.v_dim, KvRole::value), kv_tile(o.kv, to, head, a.v_dim, KvRole::value),
       trellis_walk);
}

void run(const AppendArgs& a, const Operands& o) noexcept {
  const int64_t grain = larger<int64_t>(1, kGrainElements / (a.k_dim + a.v_dim));
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_tokens} * a.kv_heads, grain, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      append_row(a, o, i / a.kv_heads, i % a.kv_heads, KvRole::key);
      if (a.v_dim > 0) append_row(a, o, i / a.kv_heads, i % a.kv_heads, KvRole::value);
    }
  }
  if (a.open_group < 0) return;
  int64_t items = 0;
  for (int64_t s = 0; s < o.step->n_seqs; ++s) items += full_tiles(o, s).count * a.kv_heads;
  if (items == 0) return;
  sync(o.team);
  int64_t sequence = 0, first_item = 0;
  for (int64_t item = 0, end = 0; claim(o.team, items, 1, item, end);) {
    for (; item < end; ++item) {
      FullTiles full = full_tiles(o, sequence);
      for (; item >= first_item + full.count * a.kv_heads; full = full_tiles(o, ++sequence)) {
        first_item += full.count * a.kv_heads;
      }
      const int64_t local = item - first_item;
      seal_head(a, o, sequence, full.first + local / a.kv_heads, static_cast<int32_t>(local % a.kv_heads));
    }
  }
}
