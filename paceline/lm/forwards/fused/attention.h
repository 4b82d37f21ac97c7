// Attention of some tokens of one slot to the keys of its cache.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention_kernels.h"
#include "simd.h"

namespace {

constexpr int KEY_BLOCK = 64, QUERY_BLOCK = 32;  // keys and tokens that attention takes together, to stay in cache

struct View {  // what tokens attend to: heads, a cache, and which of its keys each token sees
    int heads, kv_heads, dim, window, most_keys;
    const void* cache;
    int64_t kv_stride, slot_stride, head_stride;
    const int32_t *position, *dropped, *slot, *end, *paths, *path_start;  // paths null: no more than [0, end)
};

struct Visible {  // keys of one token, in the order of the text: [from, end), then a path of `extra` places
    int from, end, extra;
    const int32_t* path;
};

Visible visible(const View& v, int m) {
    const int oldest = v.window ? std::max(0, v.position[m] - v.dropped[m] - v.window + 1) : 0, from = std::min(oldest, v.end[m]);
    if (!v.paths) return {from, v.end[m], 0, nullptr};
    const int32_t *path = v.paths + v.path_start[m], *stop = v.paths + v.path_start[m + 1];
    const int skipped = std::min(int(stop - path), std::max(0, oldest - v.end[m]));
    return {from, v.end[m], int(stop - path) - skipped, path + skipped};
}

// A block of rows in fp32: itself, or widened into `widened`.
inline const float* block_of(const float* rows, int64_t, float*) { return rows; }
inline const float* block_of(const bf16* rows, int64_t count, float* widened) {
    for (int64_t i = 0; i < count; i++) widened[i] = get(rows[i]);
    return widened;
}

// Attention of up to QUERY_BLOCK tokens of one slot in `heads` query heads of one key head, from `head` on; key blocks outside,
// so that they are read once. widened: floats for a block of keys.
template <int D, class C>
void attend(const View& view, int head, int heads, int first, int rows, const float* q, int64_t ldq, float* out, int64_t ldo,
            float* scores, float* widened) {
    typedef HeadKernel<D> Heads;
    const int d = D ? D : view.dim, queries = rows * heads, kv_head = head / (view.heads / view.kv_heads);
    const C* keys = (const C*)view.cache + view.slot[first] * view.slot_stride + kv_head * view.head_stride;
    const C* values = keys + view.kv_stride;
    Visible sees[QUERY_BLOCK];
    int last = 0, oldest = INT32_MAX;
    for (int i = 0; i < rows; i++) {
        sees[i] = visible(view, first + i);
        last = std::max(last, sees[i].end);
        oldest = std::min(oldest, sees[i].from);
    }
    // Queries are counted token by token, and the heads of a token in turn.
    auto of = [&](int n) -> const Visible& { return sees[n / heads]; };
    auto query = [&](int n) { return q + (first + n / heads) * ldq + (head + n % heads) * d; };
    auto result = [&](int n) { return out + (first + n / heads) * ldo + (head + n % heads) * d; };
    auto weights = [&](int n) { return scores + n * int64_t(view.most_keys); };
    auto by_block = [&](const C* all, auto work) {  // work(first key, end, row(key - first key) of the block)
        for (int block = oldest / KEY_BLOCK * KEY_BLOCK; block < last; block += KEY_BLOCK) {
            const int end = std::min(block + KEY_BLOCK, last);
            work(block, end, block_of(all + int64_t(block) * d, int64_t(end - block) * d, widened));
        }
    };
    auto on_path = [&](const C* all, int n, auto work) {  // work(row) for the keys beside the common ones
        for (int a = 0; a < of(n).extra; a++) work(a, block_of(all + int64_t(of(n).path[a]) * d, d, widened));
    };
    // Of R queries from n on: what all of them see of a block together, what is before and after it each by itself.
    auto meet = [&](int block, int end, const float* rows, int n, auto size, auto work) {
        constexpr int R = decltype(size)::value;
        int from = block, to = end;
        for (int r = n; r < n + R; r++) from = std::max(from, of(r).from), to = std::min(to, of(r).end);
        to = std::max(from, to);
        const auto part = [&](int n, auto size, int from, int to) {
            if (to > from) work(n, size, [=](int k) { return rows + int64_t(from - block + k) * d; }, from, to - from);
        };
        const std::integral_constant<int, 1> alone;
        for (int r = n; R > 1 && r < n + R; r++) part(r, alone, std::max(block, of(r).from), std::min({from, end, of(r).end}));
        part(n, size, from, to);
        for (int r = n; R > 1 && r < n + R; r++) part(r, alone, to, std::min(end, of(r).end));
    };
    auto meet_all = [&](const C* all, auto pack, auto work) {
        constexpr int PACK = decltype(pack)::value, SOME = PACK > 2 ? 2 : 1;
        by_block(all, [&](int block, int end, const float* rows) {
            int n = 0;
            for (; n + PACK <= queries; n += PACK) meet(block, end, rows, n, pack, work);
            for (; n + SOME <= queries; n += SOME) meet(block, end, rows, n, std::integral_constant<int, SOME>{}, work);
            for (; n < queries; n++) meet(block, end, rows, n, std::integral_constant<int, 1>{}, work);
        });
    };
    meet_all(keys, std::integral_constant<int, Heads::PAIR>{}, [&](int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* query_rows[R];
        float* into[R];
        for (int r = 0; r < R; r++) query_rows[r] = query(n + r), into[r] = weights(n + r) + from - of(n + r).from;
        Heads::template dot_keys<R>(query_rows, row, d, count, into);
    });
    float sums[QUERY_BLOCK * 64];
    for (int n = 0; n < queries; n++) {
        float* beside = weights(n) + of(n).end - of(n).from;
        const float* asked = query(n);
        on_path(keys, n, [&](int a, const float* key) {
            float* into = beside + a;
            Heads::template dot_keys<1>(&asked, [=](int) { return key; }, d, 1, &into);
        });
        sums[n] = softmax(weights(n), of(n).end - of(n).from + of(n).extra);
        std::fill_n(result(n), d, 0.0f);
    }
    meet_all(values, std::integral_constant<int, Heads::PACK>{}, [&](int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* w[R];
        float* o[R];
        for (int r = 0; r < R; r++) w[r] = weights(n + r) + from - of(n + r).from, o[r] = result(n + r);
        Heads::template add_values<R>(w, row, d, count, o);
    });
    for (int n = 0; n < queries; n++) {
        const float* beside = weights(n) + of(n).end - of(n).from;
        float* o = result(n);
        on_path(values, n, [&](int a, const float* value) {
            const float* w = beside + a;
            Heads::template add_values<1>(&w, [=](int) { return value; }, d, 1, &o);
        });
        const float sum = sums[n] > 0 ? sums[n] : 1.0f;  // a token that sees nothing gets zeros
        for (int j = 0; j < d; j++) o[j] /= sum;
    }
}

template <class C, class... Args>
void attend_any(const View& view, Args... args) {
    switch (view.dim) {
        case 16: return attend<16, C>(view, args...);
        case 32: return attend<32, C>(view, args...);
        case 64: return attend<64, C>(view, args...);
        case 80: return attend<80, C>(view, args...);
        case 96: return attend<96, C>(view, args...);
        case 128: return attend<128, C>(view, args...);
        case 160: return attend<160, C>(view, args...);
        case 256: return attend<256, C>(view, args...);
        default: return attend<0, C>(view, args...);
    }
}

}  // namespace
