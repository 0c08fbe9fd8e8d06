// Attention over the paged cache. A row is one query head of one token; rows of the same key head share its keys. The
// order of sums follows from positions alone: 64 keys of a cache tile at a time, weights relative to the largest score
// so far; kSplitTokens positions on their own, then merged in order. So a row's bits are the same in decode and in
// prefill, in any batch and on any number of threads. Scores: a vector of partial sums over the dims, then sum().

constexpr float kNoScore = -1e30f;  // the largest of none
constexpr int64_t kFewRows = 4;     // up to here rows wait for memory, not for arithmetic

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
      if (in_pairs()) to_pairs(out, a.k_dim);
      if (!tiled()) continue;
      const TurboTable& table = turbo_table(*o.kv.k_turbo);
      rotate_vectors(*o.kv.k_turbo, table, out, a.k_dim);
      pack_query(out, a.k_dim, at.key_stride, table, *reinterpret_cast<PackedQuery*>(packed_query(r)));
    }
  }
  std::byte* packed_query(int64_t r) const {
    return reinterpret_cast<std::byte*>(scratch + at.packed + r * at.packed_row);
  }

  bool tiled() const { return a.open_group >= 0; }
  // Whether columns are in pair order from the cache to the sums.
  bool in_pairs() const {
    return !tiled() && o.kv.policy.k.codec == KvPolicy::Codec::raw && o.kv.policy.raw == DType::bf16 &&
           a.k_dim % 32 == 0 && a.v_dim % 32 == 0;
  }
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
  F32Rows widen(DType dtype, RowsAt cache, int64_t dims, int64_t padded, int64_t begin, int64_t end, float* out) const {
    for (int64_t j = begin; j < end; ++j) {
      float* y = out + j * padded;
      const int64_t whole = dims / 16 * 16;
      Vec v[2];
      for (int64_t d = 0; d < whole; d += 16) {
        if (in_pairs()) {
          PairRows{cache}.at(j, d, v);
          store(y + d, v[0]);
          store(y + (d += 16), v[1]);
          continue;
        }
        if (dtype == DType::bf16) {
          Bf16Rows{cache}.at(j, d, v);
        } else if (dtype == DType::f16) {
          F16Rows{cache}.at(j, d, v);
        } else {
          F32Rows{cache}.at(j, d, v);
        }
        store(y + d, v[0]);
      }
      if (whole == dims) continue;
      float tail[16] = {};
      to_float(dtype, cache.row(j) + whole * element_bytes(dtype), tail, static_cast<size_t>(dims - whole));
      store(y + whole, load(tail));
    }
    return {{reinterpret_cast<const std::byte*>(out), padded * 4}};
  }

  // Rows [row, row_end) see keys [begin, end) of the tile, or less. Few rows wait for memory: they have the values
  // fetched while keys are read, and `next` while values are.
  template <typename Rows>
  void sum_tile(int64_t tile, int64_t row, int64_t row_end, int64_t begin, int64_t end, const Rows& keys,
                const Rows& values, Fetch next) const {
    float* scores = scratch + at.scores;
    const bool few = rows <= kFewRows;
    for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
      score_rows<R>(scratch + at.queries + (row + i) * at.k, at.k, keys,
                    few && i == 0 ? Fetch{values.data, values.stride} : Fetch{}, begin, end,
                    scores + (row + i) * kTile);
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
      value_rows<R>(scores + (row + i) * kTile, values, few && i == 0 ? next : Fetch{}, begin, end, at.v,
                    sums(row + i).values, at.v + 16);
    });
  }

  // What comes behind a tile: the next one's keys, `row_bytes` each, where our last row sees any.
  Fetch next_keys(const KvView& kv, int32_t group, int64_t tile, int64_t row_bytes) const {
    if ((tile + 1) * kTile > last(rows - 1)) return {};
    return {cache_tile(kv, group, tile + 1, KvRole::key).data, row_bytes};
  }

  // Raw rows: few of ours read the cache as it is, many widen it once.
  void add_raw(const KvView& kv, int32_t group, int64_t tile, int64_t row, int64_t row_end, int64_t begin,
               int64_t end) const {
    const DType dtype = kv.policy.raw;
    const int64_t size = element_bytes(dtype);
    const RowsAt keys{cache_tile(kv, group, tile, KvRole::key).data, a.k_dim * size};
    const RowsAt values = a.v_in_k ? keys : RowsAt{cache_tile(kv, group, tile, KvRole::value).data, a.v_dim * size};
    const bool whole = a.k_dim == at.k && a.v_dim == at.v;
    const auto sum = [&]<typename Rows>(Rows k, Rows v) {
      sum_tile(tile, row, row_end, begin, end, k, v, next_keys(kv, group, tile, keys.stride));
    };
    if (whole && (rows <= kFewRows || dtype == DType::f32)) {
      if (in_pairs()) return sum(PairRows{keys}, PairRows{values});
      if (dtype == DType::bf16) return sum(Bf16Rows{keys}, Bf16Rows{values});
      if (dtype == DType::f16) return sum(F16Rows{keys}, F16Rows{values});
      return sum(F32Rows{keys}, F32Rows{values});
    }
    const F32Rows wide_keys = widen(dtype, keys, a.k_dim, at.k, begin, end, scratch + at.keys);
    const bool same = a.v_in_k && whole;
    sum_tile(tile, row, row_end, begin, end, wide_keys,
             same ? wide_keys : widen(dtype, values, a.v_dim, at.v, begin, end, scratch + at.values), {});
  }

  // The scales of a tile as floats.
  Int8Rows with_scales(const KvTile& tile, float* out) const {
    const int64_t n_scales = tile.dim / 32;
    for (int64_t i = 0; i < kTile * n_scales; i += 16) store(out + i, load_f16(tile.scales + i));
    return {{tile.data, tile.dim}, out, n_scales};
  }

  // Coded rows: few of ours read the cache, many widen it. Columns up to the next whole vector stay zero.
  void add_coded(const KvView& kv, int32_t group, int64_t tile, int64_t row, int64_t row_end, int64_t begin,
                 int64_t end) const {
    const KvTile k = cache_tile(kv, group, tile, KvRole::key);
    const KvTile v = a.v_in_k ? k : cache_tile(kv, group, tile, KvRole::value);
    if (rows <= kFewRows && a.k_dim % 32 == 0 && a.v_dim % 32 == 0) {
      const Fetch next = next_keys(kv, group, tile, a.k_dim);
      if (k.codec == KvPolicy::Codec::f8e4m3) {
        return sum_tile(tile, row, row_end, begin, end, F8Rows{{k.data, k.dim}}, F8Rows{{v.data, v.dim}}, next);
      }
      return sum_tile(tile, row, row_end, begin, end, with_scales(k, scratch + at.keys),
                      with_scales(v, scratch + at.values), next);
    }
    const auto wide = [&](const KvTile& coded, int64_t dims, int64_t padded, float* out) -> F32Rows {
      if (dims == padded) {
        for (int64_t j = begin; j < end; ++j) widen_coded(coded, j, out + j * padded);
      } else {
        for (int64_t j = 0; j < kTile; ++j) store(out + (j + 1) * padded - 16, set1(0.0f));
        load_rows(coded, static_cast<int32_t>(begin), static_cast<int32_t>(end), out, padded);
      }
      return {{reinterpret_cast<const std::byte*>(out), padded * 4}};
    };
    const F32Rows keys = wide(k, a.k_dim, at.k, scratch + at.keys);
    sum_tile(tile, row, row_end, begin, end, keys, a.v_in_k ? keys : wide(v, a.v_dim, at.v, scratch + at.values), {});
  }

  // Rows [row, row_end) see all of a packed tile, or what the window leaves of it.
  void add_packed(int64_t tile, int64_t row, int64_t row_end) const {
    const TurboTable &k_table = turbo_table(*o.kv.k_turbo), &v_table = turbo_table(*o.kv.v_turbo);
    const KvTile k = cache_tile(o.kv, a.group, tile, KvRole::key), v = cache_tile(o.kv, a.group, tile, KvRole::value);
    const int64_t k_groups = (a.k_dim + 31) / 32, v_groups = (a.v_dim + 31) / 32, row_bytes = at.packed_row * 4;
    const bool more = (tile + 2) * kTile <= last(row_end - 1);  // the next tile is packed, too
    const int64_t steps = kKeyRows + 4 * v_groups;
    const Fetch next{more ? cache_tile(o.kv, a.group, tile + 1, KvRole::key).data : nullptr,
                     more ? (o.kv.head_bytes + steps - 1) / steps : 0};
    float k_norms[kTile], v_norms[kTile], units[kRowTile];
    for (int64_t j = 0; j < kTile; j += 16) {
      store(k_norms + j, load_f16(k.scales + j));
      store(v_norms + j, load_f16(v.scales + j) * set1(v_table.step));
    }
    uint8_t weights[kRowTile][2 * kTile];
    float* scores = scratch + at.scores;
    const auto score = [&](const auto& keys) {
      for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
        packed_scores<R>(packed_query(row + i), row_bytes, keys, k_groups, k_table.step, k_norms,
                         i == 0 ? next : Fetch{}, scores + (row + i) * kTile);
      });
    };
    const bool once = row_end - row <= 2 || row_end - row == 4;  // one block of rows
    if (!once || !with_level_keys(k_table, k.data, k_groups, score)) {
      auto* keys = reinterpret_cast<uint8_t*>(scratch + at.keys);
      if (k_table.windows != nullptr) {
        trellis_keys(k_table, k.data, a.k_dim, keys);
      } else {
        unpack_keys(k_table, k.data, k_groups, keys);
      }
      score(StoredKeys{keys, k_groups});
    }
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
    const auto add = [&](const auto& values) {
      for_row_blocks(row_end - row, [&]<int R>(int64_t i) {
        packed_values<R>(weights[row + i], units + row + i, values, v_groups, a.v_dim, i == 0 ? next : Fetch{},
                         sums(row + i).values, at.v + 16);
      });
    };
    if (!once || !with_level_values(v_table, v.data, v_groups, add)) {
      auto* values = reinterpret_cast<int8_t*>(scratch + at.values);
      if (v_table.windows != nullptr) {
        trellis_values(v_table, v.data, a.v_dim, values);
      } else {
        unpack_values(v_table, v.data, v_groups, values);
      }
      add(StoredValues{values});
    }
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
    if (in_pairs()) from_pairs(total.values, a.v_dim);
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
  int64_t loaded_sequence = -1, loaded_rows = -1;  // whose queries scratch holds: splits of the same rows share them
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
      if (loaded_sequence != cursor.sequence || loaded_rows != local / parts) rows.load_queries();
      loaded_sequence = cursor.sequence;
      loaded_rows = local / parts;
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
