// The likeliest tokens of logits and their probabilities.
#pragma once

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace {

// A row's likeliest tokens are found in PIECES of the vocabulary, which threads share; the same pieces for any number of threads.
constexpr int PIECES = 8, SHARED_FROM = 1 << 14;  // fewer logits are not worth waking the team

struct Piece {
    float most, sum;  // the largest logit, and the sum of e^(logit - most)
    int32_t found;    // tokens kept
};

// Of logits [from, to) the `top` largest in order, of equals the first.
template <class C>
Piece piece_of(const C* logits, int from, int to, int top, int32_t* tokens) {
    float most = -INFINITY, rest = 0.0f;
    V tops = splat(-INFINITY), sums[PARTS] = {};
    int i = from;
    for (; i + LANES <= to; i += LANES) {
        const V x = load(logits + i);
        tops = x > tops ? x : tops;
    }
    for (int j = 0; j < LANES; j++) most = std::max(most, tops[j]);
    for (; i < to; i++) most = std::max(most, get(logits[i]));
    const float least = most > -INFINITY ? most : 0.0f;
    for (i = from; i + PARTIALS <= to; i += PARTIALS)
        for (int p = 0; p < PARTS; p++) sums[p] += exp_of(load(logits + i + p * LANES) - least);
    for (; i < to; i++) rest += exp_of(get(logits[i]) - least);
    int kept = 0;
    if (top == 1) {
        for (i = from; i < to - 1 && !(get(logits[i]) >= most);) i++;
        tokens[kept++] = std::min(i, to - 1);
    }
    for (i = from; top > 1 && i < to; i++) {  // most logits are below the last one kept
        const float x = get(logits[i]);
        if (kept == top && !(x > get(logits[tokens[top - 1]]))) continue;
        int place = kept < top ? kept++ : top - 1;
        for (; place > 0 && x > get(logits[tokens[place - 1]]); place--) tokens[place] = tokens[place - 1];
        tokens[place] = i;
    }
    return {most, hsum(joined(sums)) + rest, kept};
}

// A row's `top` likeliest tokens and their probabilities, from its pieces and the tokens that each has kept.
template <class C>
void merge_pieces(const C* logits, const Piece* pieces, const int32_t* kept, int top, int32_t* tokens, float* probs) {
    float most = -INFINITY, sum = 0.0f;
    for (int p = 0; p < PIECES; p++) most = std::max(most, pieces[p].most);
    for (int p = 0; p < PIECES; p++)
        if (pieces[p].most > -INFINITY) sum = madd(pieces[p].sum, exp_of(pieces[p].most - most), sum);
    int taken[PIECES] = {};
    for (int i = 0; i < top; i++) {
        int best = -1;
        for (int p = 0; p < PIECES; p++) {
            if (taken[p] == pieces[p].found) continue;
            if (best < 0 || get(logits[kept[p * top + taken[p]]]) > get(logits[kept[best * top + taken[best]]])) best = p;
        }
        tokens[i] = kept[best * top + taken[best]++];
        probs[i] = exp_of(get(logits[tokens[i]]) - most) / sum;
    }
}

// The `top` likeliest tokens, at least one and no more than there are, of each of `rows` rows of n logits; their probabilities.
template <class C>
void top_k(const C* logits, int rows, int n, int top, Piece* pieces, int32_t* kept, int threads, int32_t* tokens, float* probs) {
    const auto edge = [&](int p) { return int(int64_t(n) * p / PIECES); };
#pragma omp parallel for num_threads(threads) schedule(static) if (int64_t(rows) * n >= SHARED_FROM)
    for (int i = 0; i < rows * PIECES; i++)
        pieces[i] = edge(i % PIECES) == edge(i % PIECES + 1) ? Piece{-INFINITY, 0.0f, 0}
            : piece_of(logits + int64_t(i / PIECES) * n, edge(i % PIECES), edge(i % PIECES + 1), top, kept + int64_t(i) * top);
    for (int row = 0; row < rows; row++)
        merge_pieces(logits + int64_t(row) * n, pieces + row * PIECES, kept + int64_t(row) * PIECES * top, top,
                     tokens + row * top, probs + row * top);
}

}  // namespace
