// The operations of products: which rows meet which matrices, and how the work is dealt out.

// What a weight's format needs: the form of activations, and a kernel for each tile size.
struct ProductKernel {
  ActivationForm form;
  void (*run[5])(const Tile&);
};

template <typename K, int N>
constexpr auto tile_kernel() {
  if constexpr (N <= kMaxTile) {
    return K::template run<N>;
  } else {
    return nullptr;
  }
}

template <typename K>
constexpr ProductKernel kernel_with(ActivationForm form) {
  return {form,
          {tile_kernel<K, 1>(), tile_kernel<K, 2>(), tile_kernel<K, 4>(), tile_kernel<K, 8>(), tile_kernel<K, 12>()}};
}

inline ProductKernel kernel_of(const MatrixView& w) {
  const int64_t in = w.in, blocks32 = (in + 31) / 32, blocks256 = (in + 255) / 256;
  switch (w.format.code) {
    case BlockCode::q8_0:
      return kernel_with<Block32Kernel<Q8Code>>({10 * blocks32, write_blocks32<128>});
    case BlockCode::q4_0:
      return kernel_with<Block32Kernel<Q4Code>>({10 * blocks32, write_blocks32<8>});
    case BlockCode::q4_k:
      return kernel_with<Block256Kernel<Q4KCode>>({85 * blocks256, write_blocks256});
    case BlockCode::q5_k:
      return kernel_with<Block256Kernel<Q5KCode>>({85 * blocks256, write_blocks256});
    case BlockCode::q6_k:
      return kernel_with<Block256Kernel<Q6KCode>>({85 * blocks256, write_blocks256});
    default:
      break;
  }
  if (w.format.element == DType::f32) return kernel_with<PlainKernel<F32Weights>>({in, write_floats<1>});
  if (w.format.element == DType::f16) return kernel_with<PlainKernel<F16Weights>>({in, write_floats<1>});
#ifdef __AVX512BF16__
  return kernel_with<PlainKernel<Bf16Pairs>>({(in + 1) / 2, write_bf16_pairs});
#else
  return kernel_with<PlainKernel<Bf16Weights>>({(in + 1) / 2 * 2, write_floats<2>});
#endif
}

// Index of the smallest tile for n tokens.
inline int tile_index(int64_t n) {
  int i = 0;
  while (kTileSizes[i] < smaller<int64_t>(n, kMaxTile)) ++i;
  return i;
}

inline int64_t padded_rows(int64_t n) {
  const int64_t rest = n % kMaxTile;
  return n - rest + (rest > 0 ? kTileSizes[tile_index(rest)] : 0);
}

// Which rows of x each group multiplies with which matrix. Without lists: `groups` matrices, each with all `count` rows
// of x. With lists (in the scratch memory): group g has matrix matrices[g] and the entries [starts[g], starts[g + 1])
// of `entries`, which count (token, choice) pairs.
struct Rows {
  TensorView x, y;
  int64_t groups, count;
  int64_t x_step, y_step;  // columns between groups, or between choices
  int64_t choices;
  const int32_t *n_groups, *matrices, *starts, *entries;

  int64_t size(int64_t g) const { return starts == nullptr ? count : starts[g + 1] - starts[g]; }
  int64_t matrix(int64_t g) const { return starts == nullptr ? g : matrices[g]; }
  bool exists(int64_t g) const { return n_groups == nullptr || g < *n_groups; }
  // Place of the group's first activation row. Padding never doubles a group.
  int64_t place(int64_t g) const { return starts == nullptr ? g * padded_rows(count) : 2 * starts[g]; }
  const float* x_row(int64_t g, int64_t i) const { return at<const float>(x, x_step, g, i); }
  float* y_row(int64_t g, int64_t i) const { return at<float>(y, y_step, g, i); }

 private:
  template <typename T>
  T* at(const TensorView& view, int64_t step, int64_t g, int64_t i) const {
    if (starts == nullptr) return row_of<T>(view, i) + g * step;
    const int64_t entry = entries[starts[g] + i];
    return row_of<T>(view, entry / choices) + entry % choices * step;
  }
};

// Activation rows [begin, begin + n) of group g, n at most a tile: into the tile that they form.
inline void write_tile(const ProductKernel& kernel, const Rows& rows, int64_t in, int64_t g, int64_t begin,
                       uint32_t* activations) {
  const int64_t n = smaller<int64_t>(rows.size(g) - begin, kMaxTile), stride = kTileSizes[tile_index(n)];
  uint32_t* tile = activations + (rows.place(g) + begin) * kernel.form.words;
  for (int64_t i = 0; i < stride; ++i) {
    kernel.form.write(i < n ? rows.x_row(g, begin + i) : nullptr, in, tile + i, stride);
  }
}

// Panels [first, last) of group g's matrix with its rows [from, to), which begin at a tile.
inline void multiply_panels(const ProductKernel& kernel, const MatrixView& w, const Rows& rows, int64_t g,
                            int64_t first, int64_t last, int64_t from, int64_t to, const uint32_t* activations) {
  const int64_t bytes = panel_bytes(w.format, w.in), panels = (w.out + kPanelRows - 1) / kPanelRows;
  const int64_t words = kernel.form.words, matrix = rows.matrix(g);
  const auto* weights = static_cast<const std::byte*>(w.data) + matrix * panels * bytes;
  for (int64_t p = first; p < last; p += kMaxPanels) {
    const int64_t row = p * kPanelRows;
    for (int64_t t = from; t < to; t += kMaxTile) {
      Tile tile{.weights = weights + p * bytes,
                .panels = smaller(kMaxPanels, last - p),
                .panel_bytes = bytes,
                .x = activations + (rows.place(g) + t) * words,
                .y = {},
                .n = smaller<int64_t>(to - t, kMaxTile),
                .rows = w.out - row,
                .bias = w.bias == nullptr ? nullptr : w.bias + matrix * w.out + row};
      for (int64_t i = 0; i < tile.n; ++i) tile.y[i] = rows.y_row(g, t + i) + row;
      kernel.run[tile_index(tile.n)](tile);
    }
  }
}

// The phase of activations.
inline void write_activations(const ProductKernel& kernel, const Rows& rows, int64_t in, uint32_t* activations,
                              const Team& team) {
  const int64_t tiles = rows.starts == nullptr ? (rows.count + kMaxTile - 1) / kMaxTile : 1;
  int64_t begin, end;
  while (claim(team, rows.groups * tiles, 1, begin, end)) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / tiles;
      if (!rows.exists(g)) continue;
      for (int64_t row = i % tiles * kMaxTile; row < rows.size(g); row += tiles * kMaxTile) {
        write_tile(kernel, rows, in, g, row, activations);
      }
    }
  }
  sync(team);
}

// Both phases; `scratch` lies behind the lists. An item of the second is a run of panels with as many rows as the
// cache holds; all rows of a group pass before the next panels.
inline void multiply(const MatrixView& w, const Rows& rows, std::byte* scratch, const Team& team) {
  const ProductKernel kernel = kernel_of(w);
  auto* activations = reinterpret_cast<uint32_t*>(scratch);
  write_activations(kernel, rows, w.in, activations, team);
  const int64_t panels = (w.out + kPanelRows - 1) / kPanelRows, wide = rows.count >= 8 ? kMaxPanels : 1;
  const int64_t grain = larger<int64_t>(1, kItemBytes / panel_bytes(w.format, w.in) / wide) * wide;
  const int64_t chunks = (panels + grain - 1) / grain;
  const int64_t together = larger<int64_t>(1, kActivationBytes / (kMaxTile * kernel.form.words * 4)) * kMaxTile;
  const int64_t blocks = rows.starts == nullptr ? (rows.count + together - 1) / together : 1;
  int64_t begin, end;
  while (claim(team, rows.groups * chunks * blocks, 1, begin, end)) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / blocks / chunks, first = i / blocks % chunks * grain, last = smaller(first + grain, panels);
      if (!rows.exists(g)) continue;
      for (int64_t from = i % blocks * together; from < rows.size(g); from += blocks * together) {
        const int64_t to = smaller(from + together, rows.size(g));
        multiply_panels(kernel, w, rows, g, first, last, from, to, activations);
      }
    }
  }
}

void run(const LinearArgs&, const Operands& o) noexcept {
  const Rows rows{.x = o.reads[0], .y = o.writes[0], .groups = 1, .count = o.reads[0].rows};
  multiply(o.weights[0], rows, o.scratch, o.team);
}

void run(const HeadLinearArgs& a, const Operands& o) noexcept {
  const Rows rows{.x = o.reads[0],
                  .y = o.writes[0],
                  .groups = a.heads,
                  .count = o.reads[0].rows,
                  .x_step = a.in_stride,
                  .y_step = a.out_stride};
  multiply(o.weights[0], rows, o.scratch, o.team);
}

// Sorts the (token, choice) pairs by expert; choices of other shards give zeros. Lists: number of groups, then
// matrices, starts and entries.
inline void sort_by_expert(const ExpertLinearArgs& a, const Operands& o, int32_t* n_groups, int32_t* matrices,
                           int32_t* starts, int32_t* entries, int32_t* next) {
  const MatrixView& w = o.weights[0];
  const int64_t pairs = o.reads[0].rows * a.top_k;
  const auto expert_of = [&](int64_t i) {
    return int64_t{row_of<const int32_t>(o.reads[1], i / a.top_k)[i % a.top_k]} - a.first;
  };
  for (int64_t e = 0; e < w.count; ++e) next[e] = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t e = expert_of(i);
    if (e >= 0 && e < w.count) {
      ++next[e];
    } else {
      float* y = row_of<float>(o.writes[0], i / a.top_k) + i % a.top_k * w.out;
      for (int64_t c = 0; c < w.out; ++c) y[c] = 0.0f;
    }
  }
  int32_t groups = 0, start = 0;
  for (int32_t e = 0; e < w.count; ++e) {
    const int32_t size = next[e];
    next[e] = start;
    if (size == 0) continue;
    matrices[groups] = e;
    starts[groups++] = start;
    start += size;
  }
  starts[groups] = start;
  *n_groups = groups;
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t e = expert_of(i);
    if (e >= 0 && e < w.count) entries[next[e]++] = static_cast<int32_t>(i);
  }
}

void run(const ExpertLinearArgs& a, const Operands& o) noexcept {
  const MatrixView& w = o.weights[0];
  const int64_t pairs = o.reads[0].rows * a.top_k, groups = smaller(w.count, pairs);
  auto* n_groups = reinterpret_cast<int32_t*>(o.scratch);
  int32_t *matrices = n_groups + 1, *next = matrices + w.count, *starts = next + w.count;
  int32_t* entries = starts + w.count + 1;
  int64_t begin, end;
  if (claim(o.team, 1, 1, begin, end)) sort_by_expert(a, o, n_groups, matrices, starts, entries, next);
  sync(o.team);
  const Rows rows{.x = o.reads[0],
                  .y = o.writes[0],
                  .groups = groups,
                  .count = pairs,
                  .x_step = a.own_input ? w.in : 0,
                  .y_step = w.out,
                  .choices = a.top_k,
                  .n_groups = n_groups,
                  .matrices = matrices,
                  .starts = starts,
                  .entries = entries};
  multiply(w, rows, o.scratch + expert_list_bytes(w.count, pairs), o.team);
}

void run(const EmbedArgs& a, const Operands& o) noexcept {
  int64_t begin, end;
  while (claim(o.team, o.step->n_tokens, 1, begin, end)) {
    for (int64_t t = begin; t < end; ++t) {
      float* y = row_of<float>(o.writes[0], t);
      unpack_row(o.weights[0], 0, o.step->tokens[t], y);
      for (int64_t c = 0; c < o.weights[0].in; ++c) y[c] *= a.scale;
    }
  }
}
