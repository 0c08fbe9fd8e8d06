// Choosing experts, one token at a time, in double as the reference does: near ties must fall alike.

// Each array is as long as there are experts.
struct Router {
  const RouteArgs& a;
  double *weight, *choice, *group;

  void score(const float* logits, const float* correction) const {
    double largest = logits[0], mass = 0.0;
    for (int32_t e = 1; e < a.experts; ++e) largest = larger<double>(largest, logits[e]);
    for (int32_t e = 0; e < a.experts; ++e) {
      weight[e] = a.score == RouterScore::sigmoid ? 1.0 / (1.0 + __builtin_exp(-static_cast<double>(logits[e])))
                                                  : __builtin_exp(logits[e] - largest);
      mass += weight[e];
    }
    for (int32_t e = 0; e < a.experts; ++e) {
      if (a.score == RouterScore::softmax) weight[e] /= mass;
      choice[e] = a.correction ? weight[e] + correction[e] : weight[e];
    }
  }

  // Sum of the one or two best choices of group `g`.
  double group_score(int32_t g) const {
    const int32_t size = a.experts / a.groups;
    double first = -__builtin_inf(), second = first;
    for (int32_t e = g * size; e < (g + 1) * size; ++e) {
      second = larger(second, smaller(first, choice[e]));
      first = larger(first, choice[e]);
    }
    return a.group_best > 1 && size > 1 ? first + second : first;
  }

  // Experts of groups that top_groups others outrank (ties: lower number first) cannot be chosen.
  void drop_groups() const {
    const int32_t size = a.experts / a.groups;
    for (int32_t g = 0; g < a.groups; ++g) group[g] = group_score(g);
    for (int32_t g = 0; g < a.groups; ++g) {
      int32_t better = 0;
      for (int32_t other = 0; other < a.groups; ++other)
        better += group[other] > group[g] || (group[other] == group[g] && other < g);
      if (better < a.top_groups) continue;
      for (int32_t e = g * size; e < (g + 1) * size; ++e) choice[e] = -__builtin_inf();
    }
  }

  // Sparsemixer's weight of `best`: softmax over what is near it and may still be chosen.
  double mixer_weight(const float* logits, int32_t best) const {
    const double top = logits[best];
    double mass = 0.0;
    for (int32_t e = 0; e < a.experts; ++e) {
      const double logit = logits[e];
      const bool near = top - logit <= 2 * a.jitter * larger(__builtin_fabs(logit), top);
      if (near && choice[e] != -__builtin_inf()) mass += __builtin_exp(logit - top);
    }
    return 1.0 / mass;
  }

  void choose(const float* logits, int32_t* ids, float* weights) const {
    double total = 0.0;
    for (int32_t j = 0; j < a.top_k; ++j) {
      int32_t best = 0;
      for (int32_t e = 1; e < a.experts; ++e) best = choice[e] > choice[best] ? e : best;
      ids[j] = best;
      if (a.score == RouterScore::sparsemixer) weight[best] = mixer_weight(logits, best);
      choice[best] = -__builtin_inf();
      total += weight[best];
    }
    const bool normalised = a.renormalize || a.score == RouterScore::softmax_selected;
    const double divisor = normalised ? (a.score == RouterScore::sigmoid ? total + 1e-20 : total) : 1.0;
    for (int32_t j = 0; j < a.top_k; ++j) weights[j] = static_cast<float>(weight[ids[j]] / divisor * a.scale);
  }
};

void run(const RouteArgs& a, const Operands& o) noexcept {
  const float* correction = a.correction ? static_cast<const float*>(o.weights[0].data) : nullptr;
  double* scratch = reinterpret_cast<double*>(o.scratch) + int64_t{3} * a.experts * o.team.thread;
  const Router router{a, scratch, scratch + a.experts, scratch + 2 * a.experts};
  for (int64_t begin = 0, end = 0; claim(o.team, o.reads[0].rows, 4, begin, end);) {
    for (int64_t t = begin; t < end; ++t) {
      router.score(row_of<float>(o.reads[0], t), correction);
      if (a.top_groups < a.groups) router.drop_groups();
      router.choose(row_of<float>(o.reads[0], t), row_of<int32_t>(o.writes[0], t), row_of<float>(o.writes[1], t));
    }
  }
}
