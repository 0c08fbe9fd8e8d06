// Attention over the paged cache. A row is one query head of one token; rows of the same key head share its keys. The
// order of sums follows from positions alone: 64 keys of a cache tile at a time, weights relative to the largest score
// so far; kSplitTokens positions on their own, then merged in order. So a row's bits are the same in decode and in
// prefill, in any batch and on any number of threads. Scores: a vector of partial sums over the dims, then sum().

constexpr float kNoScore = -1e30f;  // the largest of none

// How rows of the cache (or of scratch) become floats.
struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  static Vec at(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct LoadBf16 {
  static constexpr int64_t kBytes = 2;
  static Vec at(const std::byte* p) { return load_bf16(p); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  static Vec at(const std::byte* p) { return load_f16(p); }
};

// f8e4m3 as floats: exponent and fraction in a float's places, times what their biases differ by. NaN stays NaN.
inline Vec load_f8(const std::byte* p) {
  const Ints bits = load_i8(p), size = bits & set1(int32_t{0x7f}), sign = shift_left<24>(bits & set1(int32_t{0x80}));
  const Vec value = from_bits(shift_left<20>(size)) * set1(0x1p120f);
  const Ints nan = set1(int32_t{0}) - shift_right<7>(size + set1(int32_t{1}));
  return from_bits(bits_of(value) | sign | (nan & set1(int32_t{0x7fc00000})));
}

// A row of int8_block or f8e4m3 as `dim` floats, a multiple of 16.
inline void widen_coded(const KvTile& tile, int64_t row, float* out) {
  const std::byte* codes = tile.data + row * tile.dim;
  if (tile.codec == KvPolicy::Codec::f8e4m3) {
    for (int64_t d = 0; d < tile.dim; d += 16) store(out + d, load_f8(codes + d));
    return;
  }
  constexpr int64_t kBlock = 32;  // coordinates of a scale
  const int64_t n_scales = (tile.dim + kBlock - 1) / kBlock;
  const uint16_t* scales = tile.scales + row * n_scales;
  for (int64_t first = 0; first < n_scales; first += 16) {
    uint16_t halves[16] = {};
    float wide[16];
    __builtin_memcpy(halves, scales + first, static_cast<size_t>(2 * smaller<int64_t>(16, n_scales - first)));
    store(wide, load_f16(halves));
    for (int64_t d = first * kBlock; d < smaller<int64_t>(tile.dim, (first + 16) * kBlock); d += 16) {
      store(out + d, to_floats(load_i8(codes + d)) * set1(wide[d / kBlock - first]));
    }
  }
}

// Keys or values of one tile: row j at data + j * stride.
struct TileRows {
  const std::byte* data;
  int64_t stride;
};

// scores[r][n] = q[r] . k[n] for R rows and N keys.
template <typename Load, int R, int N>
inline void score_block(const float* q, int64_t dims, TileRows keys, float* scores) {
  Vec sums[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sums[r][n] = set1(0.0f);
  }
  for (int64_t d = 0; d < dims; d += 16) {
    Vec k[N];
    for (int n = 0; n < N; ++n) k[n] = Load::at(keys.data + n * keys.stride + d * Load::kBytes);
    for (int r = 0; r < R; ++r) {
      const Vec x = load(q + r * dims + d);
      for (int n = 0; n < N; ++n) sums[r][n] = fma(x, k[n], sums[r][n]);
    }
  }
  for (int r = 0; r < R; ++r) {
    if constexpr (N % 4 == 0) {
      for (int n = 0; n < N; n += 4) {
        store_sums(scores + r * kTile + n, sums[r][n], sums[r][n + 1], sums[r][n + 2], sums[r][n + 3]);
      }
    } else {
      for (int n = 0; n < N; ++n) scores[r * kTile + n] = sum(sums[r][n]);
    }
  }
}

// `fetch`: rows that come from memory, wanted next while these are worked on.
template <typename Load, int R>
inline void score_rows(const float* q, int64_t dims, TileRows keys, TileRows fetch, int64_t begin, int64_t end,
                       float* scores) {
  constexpr int kKeys = larger(1, smaller(8, kVecRegisters / 2 / R));
  for (int64_t j = begin / kKeys * kKeys; j < end; j += kKeys) {
    if (fetch.data != nullptr) {
      prefetch(keys.data + (j + kKeys) * keys.stride, kKeys * keys.stride);
      prefetch(fetch.data + j * fetch.stride, kKeys * fetch.stride);
    }
    score_block<Load, R, kKeys>(q, dims, {keys.data + j * keys.stride, keys.stride}, scores + j);
  }
}

// sums[r] += sum over keys j of weights[r][j] * v[j], for R rows and N vectors of columns.
template <typename Load, int R, int N>
inline void value_block(const float* weights, TileRows values, int64_t begin, int64_t end, float* sums,
                        int64_t sums_stride) {
  Vec acc[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) acc[r][n] = load(sums + r * sums_stride + 16 * n);
  }
  for (int64_t j = begin; j < end; ++j) {
    Vec v[N];
    for (int n = 0; n < N; ++n) v[n] = Load::at(values.data + j * values.stride + 16 * n * Load::kBytes);
    for (int r = 0; r < R; ++r) {
      const Vec w = set1(weights[r * kTile + j]);
      for (int n = 0; n < N; ++n) acc[r][n] = fma(w, v[n], acc[r][n]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) store(sums + r * sums_stride + 16 * n, acc[r][n]);
  }
}

template <typename Load, int R>
inline void value_rows(const float* weights, TileRows values, int64_t begin, int64_t end, int64_t dims, float* sums,
                       int64_t sums_stride) {
  constexpr int kVectors = larger(1, smaller(8, kVecRegisters / 2 / R));
  int64_t d = 0;
  for (; d + 16 * kVectors <= dims; d += 16 * kVectors) {
    value_block<Load, R, kVectors>(weights, {values.data + d * Load::kBytes, values.stride}, begin, end, sums + d,
                                   sums_stride);
  }
  for (; d < dims; d += 16) {
    value_block<Load, R, 1>(weights, {values.data + d * Load::kBytes, values.stride}, begin, end, sums + d,
                            sums_stride);
  }
}

// Calls f.operator()<R>(first row) for all rows, as many at a time as fit the registers.
template <typename F>
inline void for_row_blocks(int64_t rows, F f) {
  int64_t r = 0;
  if constexpr (kVecRegisters >= 32) {
    for (; r + 4 <= rows; r += 4) f.template operator()<4>(r);
  }
  for (; r + 2 <= rows; r += 2) f.template operator()<2>(r);
  if (r < rows) f.template operator()<1>(r);
}

// What a row has summed up: weighted values [v], their weights' sum, the largest score.
struct RowSums {
  float* values;
  int64_t dims;
  float& mass() const { return values[dims]; }
  float& top() const { return values[dims + 1]; }

  void clear() const {
    for (int64_t d = 0; d < dims; d += 16) store(values + d, set1(0.0f));
    mass() = 0.0f;
    top() = kNoScore;
  }
  void scale(Vec factor) const {
    for (int64_t d = 0; d < dims; d += 16) store(values + d, load(values + d) * factor);
  }
  // Adds another row's sums over other keys.
  void merge(const RowSums& other) const {
    const float best = larger(top(), other.top());
    const Vec mine = exp_v(set1(top() - best)), theirs = exp_v(set1(other.top() - best));
    for (int64_t d = 0; d < dims; d += 16) {
      store(values + d, fma(load(other.values + d), theirs, load(values + d) * mine));
    }
    const Vec both = fma(set1(other.mass()), theirs, set1(mass()) * mine);
    store_n(&mass(), both, 1);
    top() = best;
  }
};

inline void cap_scores(const AttendArgs& a, float* scores) {
  if (!(a.softcap > 0)) return;
  const Vec cap = set1(a.softcap);
  for (int64_t j = 0; j < kTile; j += 16) store(scores + j, cap * tanh_v(load(scores + j) / cap));
}

// Scores of one row become weights; -infinity gives none. The row's sums are put in relation to the new largest score.
inline void weigh(float* scores, const RowSums& row) {
  const Vec s[4] = {load(scores), load(scores + 16), load(scores + 32), load(scores + 48)};
  const float best = larger(row.top(), largest(max(max(s[0], s[1]), max(s[2], s[3]))));
  Vec w[4];
  for (int i = 0; i < 4; ++i) {
    w[i] = exp_v(s[i] - set1(best));
    store(scores + 16 * i, w[i]);
  }
  const float mass = sum((w[0] + w[1]) + (w[2] + w[3]));
  if (best > row.top()) {
    const Vec factor = exp_v(set1(row.top() - best));
    row.scale(factor);
    store_n(&row.mass(), set1(row.mass()) * factor, 1);
    row.top() = best;
  }
  row.mass() += mass;
}

// The last position that a query at `position` sees.
inline int64_t last_seen(const AttendArgs& a, const Operands& o, int64_t sequence, int64_t position) {
  if (a.causal) return position;
  const int64_t end = o.step->seq_lens[sequence] - 1;
  return a.window > 0 ? smaller(end, position + a.window - 1) : end;
}

// Rows [first_row, first_row + rows) of a sequence and key head: row i is token i / group_size, head i % group_size.
struct RowTile {
  const AttendArgs& a;
  const Operands& o;
  AttendScratch at;
  float* scratch;
  int64_t sequence, kv_head, first_row, rows;

  int64_t group_size() const { return a.heads / a.kv_heads; }
  int64_t token(int64_t r) const { return o.step->q_start[sequence] + (first_row + r) / group_size(); }
  int64_t head(int64_t r) const { return kv_head * group_size() + (first_row + r) % group_size(); }
  int64_t first(int64_t r) const {
    const int64_t first = int64_t{o.step->positions[token(r)]} - a.window + 1;
    return a.window > 0 && first > 0 ? first : 0;
  }
  int64_t last(int64_t r) const { return last_seen(a, o, sequence, o.step->positions[token(r)]); }
  RowSums sums(int64_t r) const { return {scratch + at.sums + r * (at.v + 16), at.v}; }
  RowSums totals(int64_t r) const { return {scratch + at.totals + r * (at.v + 16), at.v}; }

  void load_queries() const {
    for (int64_t r = 0; r < rows; ++r) {
      const float* q = row_of<float>(o.reads[0], token(r)) + head(r) * a.k_dim;
      float* out = scratch + at.queries + r * at.k;
      for_vectors(a.k_dim, [&](int64_t i, int64_t n) { store(out + i, load_part(q + i, n) * set1(a.scale)); });
      if (!tiled()) continue;
      const TurboTable& table = turbo_table(*o.kv.k_turbo);
      rotate_vectors(*o.kv.k_turbo, table, out, a.k_dim);
      pack_query(out, a.k_dim, at.key_stride, table.offset, *reinterpret_cast<PackedQuery*>(packed_query(r)));
    }
  }
  std::byte* packed_query(int64_t r) const {
    return reinterpret_cast<std::byte*>(scratch + at.packed + r * at.packed_row);
  }

  bool tiled() const { return a.open_group >= 0; }
  // The first row that reads tile `tile` packed: from far enough behind it.
  int64_t first_behind(int64_t tile) const {
    int64_t r = 0;
    while (r < rows && o.step->positions[token(r)] < (tile + 1 + o.kv.policy.recent) * kTile) ++r;
    return r;
  }

  KvTile cache_tile(const KvView& kv, int32_t group_index, int64_t tile, KvRole role) const {
    const GroupInputs& group = o.step->groups[group_index];
    return kv_tile(kv, group.block_table[sequence * group.table_stride + tile], static_cast<int32_t>(kv_head),
                   role == KvRole::key ? a.k_dim : a.v_dim, role);
  }

  // The first `dims` of cache rows [begin, end) as floats in scratch, padded with zeros.
  TileRows widen(DType dtype, TileRows cache, int64_t dims, int64_t padded, int64_t begin, int64_t end,
                 float* out) const {
    for (int64_t j = begin; j < end; ++j) {
      const std::byte* row = cache.data + j * cache.stride;
      float* y = out + j * padded;
      const int64_t whole = dims / 16 * 16;
      for (int64_t d = 0; d < whole; d += 16) {
        const std::byte* p = row + d * element_bytes(dtype);
        store(y + d, dtype == DType::bf16 ? LoadBf16::at(p) : dtype == DType::f16 ? LoadF16::at(p) : LoadF32::at(p));
      }
      if (whole == dims) continue;
      float tail[16] = {};
      to_float(dtype, row + whole * element_bytes(dtype), tail, static_cast<size_t>(dims - whole));
      store(y + whole, load(tail));
    }
    return {reinterpret_cast<const std::byte*>(out), padded * 4};
  }

  // Rows [row, row_end) see keys [begin, end) of the tile, or less.
  template <typename Load>
  void sum_tile(int64_t tile, int64_t row, int64_t row_end, int64_t begin, int64_t end, TileRows keys,
                TileRows values) const {
    float* scores = scratch + at.scores;
    for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
      score_rows<Load, R>(scratch + at.queries + (row + i) * at.k, at.k, keys,
                          rows <= 4 && i == 0 ? values : TileRows{}, begin, end, scores + (row + i) * kTile);
    });
    for (int64_t r = row; r < row_end; ++r) {
      const int64_t from = larger<int64_t>(first(r) - tile * kTile, 0);
      const int64_t to = smaller<int64_t>(last(r) + 1 - tile * kTile, kTile);
      if (from < to) {
        float* own = scores + r * kTile;
        cap_scores(a, own);
        for (int64_t j = 0; j < from; ++j) own[j] = -__builtin_inff();
        for (int64_t j = to; j < kTile; ++j) own[j] = -__builtin_inff();
        weigh(own, sums(r));
      } else {
        for (int64_t j = 0; j < kTile; j += 16) store(scores + r * kTile + j, set1(0.0f));
      }
    }
    for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
      value_rows<Load, R>(scores + (row + i) * kTile, values, begin, end, at.v, sums(row + i).values, at.v + 16);
    });
  }

  // Raw rows: few of ours read the cache as it is, many widen it once.
  void add_raw(const KvView& kv, int32_t group, int64_t tile, int64_t row, int64_t row_end, int64_t begin,
               int64_t end) const {
    const DType dtype = kv.policy.raw;
    const int64_t size = element_bytes(dtype);
    const TileRows keys{cache_tile(kv, group, tile, KvRole::key).data, a.k_dim * size};
    const TileRows values = a.v_in_k ? keys : TileRows{cache_tile(kv, group, tile, KvRole::value).data, a.v_dim * size};
    const bool whole = a.k_dim == at.k && a.v_dim == at.v;
    if (whole && (rows <= 4 || dtype == DType::f32)) {
      if (dtype == DType::bf16) return sum_tile<LoadBf16>(tile, row, row_end, begin, end, keys, values);
      if (dtype == DType::f16) return sum_tile<LoadF16>(tile, row, row_end, begin, end, keys, values);
      return sum_tile<LoadF32>(tile, row, row_end, begin, end, keys, values);
    }
    const TileRows wide_keys = widen(dtype, keys, a.k_dim, at.k, begin, end, scratch + at.keys);
    const bool same = a.v_in_k && whole;
    sum_tile<LoadF32>(tile, row, row_end, begin, end, wide_keys,
                      same ? wide_keys : widen(dtype, values, a.v_dim, at.v, begin, end, scratch + at.values));
  }

  // Coded rows are widened. Columns up to the next whole vector stay zero.
  void add_coded(const KvView& kv, int32_t group, int64_t tile, int64_t row, int64_t row_end, int64_t begin,
                 int64_t end) const {
    const auto wide = [&](KvRole role, int64_t dims, int64_t padded, float* out) -> TileRows {
      const KvTile coded = cache_tile(kv, group, tile, role);
      if (dims == padded) {
        for (int64_t j = begin; j < end; ++j) widen_coded(coded, j, out + j * padded);
      } else {
        for (int64_t j = 0; j < kTile; ++j) store(out + (j + 1) * padded - 16, set1(0.0f));
        load_rows(coded, static_cast<int32_t>(begin), static_cast<int32_t>(end), out, padded);
      }
      return {reinterpret_cast<const std::byte*>(out), padded * 4};
    };
    const TileRows keys = wide(KvRole::key, a.k_dim, at.k, scratch + at.keys);
    sum_tile<LoadF32>(tile, row, row_end, begin, end, keys,
                      a.v_in_k ? keys : wide(KvRole::value, a.v_dim, at.v, scratch + at.values));
  }

  // Rows [row, row_end) see all of a packed tile, or what the window leaves of it.
  void add_packed(int64_t tile, int64_t row, int64_t row_end) const {
    const TurboTable &k_table = turbo_table(*o.kv.k_turbo), &v_table = turbo_table(*o.kv.v_turbo);
    const KvTile k = cache_tile(o.kv, a.group, tile, KvRole::key), v = cache_tile(o.kv, a.group, tile, KvRole::value);
    const int64_t stride = at.key_stride, row_bytes = at.packed_row * 4, v_groups = (a.v_dim + 31) / 32;
    auto* keys = reinterpret_cast<uint8_t*>(scratch + at.keys);
    auto* values = reinterpret_cast<int8_t*>(scratch + at.values);
    const bool more = (tile + 2) * kTile <= last(row_end - 1);  // the next tile is packed, too
    const Fetch next{more ? cache_tile(o.kv, a.group, tile + 1, KvRole::key).data : nullptr,
                     more ? (o.kv.head_bytes + kTile - 1) / kTile : 0};
    if (k_table.windows != nullptr) {
      trellis_keys(k_table, k.data, a.k_dim, stride, next, keys);
    } else {
      unpack_keys(k_table, k.data, (a.k_dim + 31) / 32, stride, next, keys);
    }
    if (v_table.windows != nullptr) {
      trellis_values(v_table, v.data, a.v_dim, values);
    } else {
      unpack_values(v_table, v.data, v_groups, values);
    }
    float k_norms[kTile], v_norms[kTile], units[kRowTile];
    for (int64_t j = 0; j < kTile; j += 16) {
      store(k_norms + j, load_f16(k.scales + j));
      store(v_norms + j, load_f16(v.scales + j) * set1(v_table.step));
    }
    uint8_t weights[kRowTile][2 * kTile];
    float* scores = scratch + at.scores;
    for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
      packed_scores<R>(packed_query(row + i), row_bytes, stride, keys, k_table.step, k_norms,
                       scores + (row + i) * kTile);
    });
    for (int64_t r = row; r < row_end; ++r) {
      float* own = scores + r * kTile;
      cap_scores(a, own);
      for (int64_t j = 0; j < smaller(first(r) - tile * kTile, kTile); ++j) own[norm_place_of(j)] = -__builtin_inff();
      if (first(r) < (tile + 1) * kTile) {
        weigh(own, sums(r));
      } else {
        for (int64_t j = 0; j < kTile; j += 16) store(own + j, set1(0.0f));
      }
      units[r] = pack_weights(own, v_norms, weights[r]);
    }
    for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
      packed_values<R>(weights[row + i], units + row + i, values, v_groups, at.v, sums(row + i).values, at.v + 16);
    });
  }

  void add_rows(const KvView& kv, int32_t group, int64_t tile, int64_t row_end, int64_t begin, int64_t end) const {
    return kv.policy.k.codec == KvPolicy::Codec::raw ? add_raw(kv, group, tile, 0, row_end, begin, end)
                                                     : add_coded(kv, group, tile, 0, row_end, begin, end);
  }

  // Keys [begin, end) of a tile.
  void add_tile(int64_t tile, int64_t begin, int64_t end) const {
    if (!tiled()) return add_rows(o.kv, a.group, tile, rows, begin, end);
    const int64_t behind = first_behind(tile);
    if (behind > 0) add_rows(o.open, a.open_group, tile, behind, begin, end);
    if (behind < rows) add_packed(tile, behind, rows);
  }

  // Sums over the positions of one split that any of the rows sees.
  void sum_split(int64_t split) const {
    for (int64_t r = 0; r < rows; ++r) sums(r).clear();
    const int64_t from = larger(first(0), split * kSplitTokens);
    const int64_t to = smaller(last(rows - 1) + 1, (split + 1) * kSplitTokens);
    for (int64_t tile = from / kTile; tile * kTile < to; ++tile) {
      add_tile(tile, larger<int64_t>(from - tile * kTile, 0), smaller<int64_t>(to - tile * kTile, kTile));
    }
  }

  // The sink joins the mass, and the row is written.
  void finish(int64_t r, const RowSums& total) const {
    if (a.sinks) {
      const float sink = static_cast<const float*>(o.weights[0].data)[head(r)];
      const float best = larger(total.top(), sink);
      const Vec factor = exp_v(set1(total.top() - best));
      total.scale(factor);
      store_n(&total.mass(), fma(set1(total.mass()), factor, exp_v(set1(sink - best))), 1);
    }
    const Vec inverse = set1(1.0f / total.mass());
    total.scale(inverse);
    if (tiled()) rotate_vectors(*o.kv.v_turbo, turbo_table(*o.kv.v_turbo), total.values, a.v_dim);
    float* out = row_of<float>(o.writes[0], token(r)) + head(r) * a.v_dim;
    for_vectors(a.v_dim, [&](int64_t d, int64_t n) { store_part(out + d, load(total.values + d), n); });
  }
};

// One sequence's share of the work.
struct SequenceWork {
  int64_t rows = 0, tiles = 0;  // of one key head
  int64_t first_split = 0, splits = 0;
  bool apart = false;  // each split is an item of its own, merged in a second phase
  int64_t items = 0;
  int64_t partial = 0;  // first of its rows among those that wait to be merged

  int64_t partial_rows(const AttendArgs& a) const { return apart ? a.kv_heads * splits * rows : 0; }
};

// Walks over the sequences in order; each thread does so for itself, and item numbers only rise.
struct WorkCursor {
  const AttendArgs& a;
  const Operands& o;
  int64_t sequence = 0, first_item = 0, partial_end = 0;
  SequenceWork work;

  WorkCursor(const AttendArgs& args, const Operands& operands) : a(args), o(operands) { describe(); }

  void describe() {
    work = {};
    if (sequence == o.step->n_seqs) return;
    const int64_t begin = o.step->q_start[sequence], end = o.step->q_start[sequence + 1];
    if (begin == end) return;
    work.rows = (end - begin) * (a.heads / a.kv_heads);
    work.tiles = (work.rows + kRowTile - 1) / kRowTile;
    const int64_t first = a.window > 0 ? larger<int64_t>(0, int64_t{o.step->positions[begin]} - a.window + 1) : 0;
    const int64_t last = last_seen(a, o, sequence, o.step->positions[end - 1]);
    work.first_split = first / kSplitTokens;
    work.splits = last / kSplitTokens + 1 - work.first_split;
    work.partial = partial_end;
    work.apart = work.tiles == 1 && work.splits > 1;
    const int64_t wanted = work.partial_rows(a);
    if ((partial_end + wanted) * ((a.v_dim + 15) / 16 * 16 + 16) > kPartialFloats) work.apart = false;
    partial_end += work.partial_rows(a);
    work.items = work.tiles * a.kv_heads * (work.apart ? work.splits : 1);
  }
  // The sequence that `item` belongs to becomes the current one.
  void seek(int64_t item) {
    while (item >= first_item + work.items) next();
  }
  void next() {
    first_item += work.items;
    ++sequence;
    describe();
  }
};

struct AttendTotals {
  int64_t items = 0;
  bool apart = false;
};
inline AttendTotals count_work(const AttendArgs& a, const Operands& o) {
  AttendTotals totals;
  for (WorkCursor cursor(a, o); cursor.sequence < o.step->n_seqs; cursor.next()) {
    totals.items += cursor.work.items;
    totals.apart |= cursor.work.apart;
  }
  return totals;
}

// Where the sums of a split's row wait: behind all threads' scratch.
inline RowSums partial_row(const Operands& o, const AttendScratch& at, const SequenceWork& work, int64_t kv_head,
                           int64_t split, int64_t row) {
  const int64_t index = work.partial + (kv_head * work.splits + split) * work.rows + row;
  float* base = reinterpret_cast<float*>(o.scratch) + at.size * o.team.threads;
  return {base + index * (at.v + 16), at.v};
}

void run(const AttendArgs& a, const Operands& o) noexcept {
  const AttendScratch at = attend_scratch(a);
  float* scratch = reinterpret_cast<float*>(o.scratch) + at.size * o.team.thread;
  const AttendTotals totals = count_work(a, o);
  WorkCursor cursor(a, o);
  for (int64_t item = 0, end = 0; claim(o.team, totals.items, 1, item, end);) {
    for (; item < end; ++item) {
      cursor.seek(item);
      const SequenceWork& work = cursor.work;
      const int64_t local = item - cursor.first_item, parts = work.apart ? work.splits : 1;
      const int64_t first_row = local / (a.kv_heads * parts) * kRowTile;
      const RowTile rows{a,
                         o,
                         at,
                         scratch,
                         cursor.sequence,
                         local / parts % a.kv_heads,
                         first_row,
                         smaller(kRowTile, work.rows - first_row)};
      rows.load_queries();
      if (work.apart) {
        rows.sum_split(work.first_split + local % parts);
        for (int64_t r = 0; r < rows.rows; ++r) {
          const RowSums to = partial_row(o, at, work, rows.kv_head, local % parts, r);
          for (int64_t d = 0; d < at.v + 16; d += 16) store(to.values + d, load(rows.sums(r).values + d));
        }
        continue;
      }
      for (int64_t r = 0; r < rows.rows; ++r) rows.totals(r).clear();
      const int64_t last_split = rows.last(rows.rows - 1) / kSplitTokens;
      for (int64_t split = rows.first(0) / kSplitTokens; split <= last_split; ++split) {
        rows.sum_split(split);
        for (int64_t r = 0; r < rows.rows; ++r) rows.totals(r).merge(rows.sums(r));
      }
      for (int64_t r = 0; r < rows.rows; ++r) rows.finish(r, rows.totals(r));
    }
  }
  if (!totals.apart) return;
  sync(o.team);
  WorkCursor merger(a, o);
  for (int64_t begin = 0, end = 0; claim(o.team, int64_t{o.step->n_seqs} * a.kv_heads, 1, begin, end);) {
    while (merger.sequence < begin / a.kv_heads) merger.next();
    if (!merger.work.apart) continue;
    const int64_t kv_head = begin % a.kv_heads;
    const RowTile rows{a, o, at, scratch, merger.sequence, kv_head, 0, merger.work.rows};
    for (int64_t r = 0; r < rows.rows; ++r) {
      rows.totals(r).clear();
      for (int64_t split = 0; split < merger.work.splits; ++split) {
        rows.totals(r).merge(partial_row(o, at, merger.work, kv_head, split, r));
      }
      rows.finish(r, rows.totals(r));
    }
  }
}
