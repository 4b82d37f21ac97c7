// Attention of some tokens of one slot to the keys of its cache.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention_kernels.h"
#include "model.h"
#include "simd.h"

namespace {

constexpr int KEY_BLOCK = 64, QUERY_BLOCK = 32;  // keys and tokens that attention takes together, to stay in cache

struct View {  // what tokens attend to: heads, what each row holds of a layer, and which of its keys each token sees
    int heads, kv_heads, dim, most_keys, layer;
    const Held* held;
    const int32_t *position, *row, *end, *paths, *path_start;  // paths null: no more than what is before `end`
};

// Keys of one token, in the order of the text, counted from its first token: of sinks and of the recent ones [from, end) each,
// then a path of `extra`. The weight of key k is at k + shift.
struct Visible {
    int from[2], end[2], shift[2], extra;
    const int32_t* path;
    int common() const { return end[1] + shift[1]; }  // keys before the path
};

Visible visible(const View& v, int m) {
    const Held& held = v.held[v.row[m]];
    const int position = v.position[m], end = v.end[m];
    const int oldest = held.window && position >= held.since ? std::max(0, position - int(held.window) + 1) : 0;
    const int sinks = std::min({int(held.sinks), oldest, end});
    const int from = std::min(std::max(oldest, held.dropped ? int(held.dropped + held.sinks) : 0), end);
    Visible sees{{0, from}, {sinks, end}, {0, sinks - from}, 0, nullptr};
    if (!v.paths) return sees;
    const int32_t *path = v.paths + v.path_start[m], *stop = v.paths + v.path_start[m + 1];
    sees.path = path + std::min(int(stop - path), std::max(0, oldest - end));
    sees.extra = int(stop - sees.path);
    return sees;
}

// Towards the caches: keys and values lie far apart, and the hardware begins anew at each block.
inline void prefetch_rows(const void* rows, int64_t bytes) {
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch((const char*)rows + line, 0, 3);
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
    const Held& held = view.held[view.row[first]];
    const C* keys = (const C*)held.layers[view.layer] + kv_head * held.capacity * d;
    const C* values = keys + view.kv_heads * held.capacity * d;
    Visible sees[QUERY_BLOCK];
    int last[2] = {0, 0}, oldest[2] = {0, INT32_MAX};
    for (int i = 0; i < rows; i++) {
        sees[i] = visible(view, first + i);
        for (int part = 0; part < 2; part++) last[part] = std::max(last[part], sees[i].end[part]);
        oldest[1] = std::min(oldest[1], sees[i].from[1]);
    }
    auto at = [&](const C* all, int k) { return all + (k < held.sinks ? k : k - held.dropped) * d; };
    // Queries are counted token by token, and the heads of a token in turn.
    auto of = [&](int n) -> const Visible& { return sees[n / heads]; };
    auto query = [&](int n) { return q + (first + n / heads) * ldq + (head + n % heads) * d; };
    auto result = [&](int n) { return out + (first + n / heads) * ldo + (head + n % heads) * d; };
    auto weights = [&](int n) { return scores + n * int64_t(view.most_keys); };
    auto by_block = [&](const C* all, auto work) {  // work(part, first key, end, row(key - first key) of the block)
        for (int part = 0; part < 2; part++)
            for (int block = oldest[part]; block < last[part]; block += KEY_BLOCK) {
                const int end = std::min(block + KEY_BLOCK, last[part]);
                prefetch_rows(end < last[part] ? at(all, end) : values, int64_t(KEY_BLOCK) * d * sizeof(C));
                work(part, block, end, block_of(at(all, block), int64_t(end - block) * d, widened));
            }
    };
    auto on_path = [&](const C* all, int n, auto work) {  // work(row) for the keys beside the common ones
        for (int a = 0; a < of(n).extra; a++) work(a, block_of(at(all, of(n).path[a]), d, widened));
    };
    // Of R queries from n on: what all of them see of a block together, what is before and after it each by itself.
    auto meet = [&](int part, int block, int end, const float* rows, int n, auto size, auto work) {
        constexpr int R = decltype(size)::value;
        int from = block, to = end;
        for (int r = n; r < n + R; r++) from = std::max(from, of(r).from[part]), to = std::min(to, of(r).end[part]);
        to = std::max(from, to);
        const auto some = [&](int n, auto size, int from, int to) {
            if (to > from) work(part, n, size, [=](int k) { return rows + int64_t(from - block + k) * d; }, from, to - from);
        };
        const std::integral_constant<int, 1> alone;
        for (int r = n; R > 1 && r < n + R; r++)
            some(r, alone, std::max(block, of(r).from[part]), std::min({from, end, of(r).end[part]}));
        some(n, size, from, to);
        for (int r = n; R > 1 && r < n + R; r++) some(r, alone, to, std::min(end, of(r).end[part]));
    };
    auto meet_all = [&](const C* all, auto pack, auto work) {
        constexpr int PACK = decltype(pack)::value, SOME = PACK > 2 ? 2 : 1;
        by_block(all, [&](int part, int block, int end, const float* rows) {
            int n = 0;
            for (; n + PACK <= queries; n += PACK) meet(part, block, end, rows, n, pack, work);
            for (; n + SOME <= queries; n += SOME) meet(part, block, end, rows, n, std::integral_constant<int, SOME>{}, work);
            for (; n < queries; n++) meet(part, block, end, rows, n, std::integral_constant<int, 1>{}, work);
        });
    };
    meet_all(keys, std::integral_constant<int, Heads::PAIR>{}, [&](int part, int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* query_rows[R];
        float* into[R];
        for (int r = 0; r < R; r++) query_rows[r] = query(n + r), into[r] = weights(n + r) + from + of(n + r).shift[part];
        Heads::template dot_keys<R>(query_rows, row, d, count, into);
    });
    float sums[QUERY_BLOCK * 64];
    for (int n = 0; n < queries; n++) {
        float* beside = weights(n) + of(n).common();
        const float* asked = query(n);
        on_path(keys, n, [&](int a, const float* key) {
            float* into = beside + a;
            Heads::template dot_keys<1>(&asked, [=](int) { return key; }, d, 1, &into);
        });
        sums[n] = softmax(weights(n), of(n).common() + of(n).extra);
        std::fill_n(result(n), d, 0.0f);
    }
    meet_all(values, std::integral_constant<int, Heads::PACK>{}, [&](int part, int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* w[R];
        float* o[R];
        for (int r = 0; r < R; r++) w[r] = weights(n + r) + from + of(n + r).shift[part], o[r] = result(n + r);
        Heads::template add_values<R>(w, row, d, count, o);
    });
    for (int n = 0; n < queries; n++) {
        const float* beside = weights(n) + of(n).common();
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
