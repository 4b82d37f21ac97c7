// Attention of some queries of one slot to the keys of its cache.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention_kernels.h"
#include "model.h"
#include "simd.h"

namespace {

constexpr int QUERY_BLOCK = 96;  // queries that attention takes together, to stay in cache

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

struct Query {  // one head of one token
    Visible sees;
    const float* asked;
    float *weights, *made;
};

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

// Queries of one key head and one slot; blocks of keys are outside, so that each is read and laid out once for all of them.
template <class C>
struct Attention {
    const Held& held;
    const C *keys, *values;
    const int d, count;
    const Query* queries;
    float* block;  // [KEY_BLOCK, d]

    void run() const {
        score();
        float sums[QUERY_BLOCK];
        for (int n = 0; n < count; n++) {
            const Query& query = queries[n];
            sums[n] = softmax(query.weights, query.sees.common() + query.sees.extra);
            std::fill_n(query.made, d, 0.0f);
        }
        answer();
        for (int n = 0; n < count; n++) {
            const float sum = sums[n] > 0 ? sums[n] : 1.0f;  // a token that sees nothing gets zeros
            for (int i = 0; i < d; i++) queries[n].made[i] /= sum;
        }
    }

    const C* at(const C* all, int k) const { return all + int64_t(k < held.sinks ? k : k - held.dropped) * d; }

    // work(part, first key, end) for blocks of the keys that are before the paths.
    template <class Work>
    void each_block(const C* all, Work work) const {
        for (int part = 0; part < 2; part++) {
            int first = INT32_MAX, last = 0;
            for (const Query* query = queries; query < queries + count; query++) {
                first = std::min(first, query->sees.from[part]);
                last = std::max(last, query->sees.end[part]);
            }
            for (; first < last; first += KEY_BLOCK) {
                const int end = std::min(first + KEY_BLOCK, last);
                prefetch_rows(end < last ? at(all, end) : values, int64_t(KEY_BLOCK) * d * sizeof(C));
                work(part, first, end);
            }
        }
    }

    // work(first query, how many, path, place in it, keys) for what is beside those; a token's heads have one path.
    template <class Work>
    void each_path(Work work) const {
        for (int n = 0, next; n < count; n = next) {
            const Visible& sees = queries[n].sees;
            const auto shares = [&](const Visible& other) { return other.path == sees.path && other.extra == sees.extra; };
            for (next = n + 1; next < count && shares(queries[next].sees);) next++;
            for (int a = 0; a < sees.extra; a += KEY_BLOCK)
                work(n, next - n, sees.path, a, std::min(KEY_BLOCK, sees.extra - a));
        }
    }

    void score() const {
        each_block(keys, [&](int part, int first, int end) {
            transpose<C>([&](int k) { return at(keys, first + k); }, end - first, d, block);
            dot(0, count, [&](const Query& query, const float* scores) {
                const Visible& sees = query.sees;
                const int from = std::max(first, sees.from[part]), to = std::min(end, sees.end[part]);
                if (from < to) std::copy(scores + from - first, scores + to - first, query.weights + from + sees.shift[part]);
            });
        });
        each_path([&](int n, int heads, const int32_t* path, int a, int some) {
            transpose<C>([&](int k) { return at(keys, path[a + k]); }, some, d, block);
            dot(n, heads, [&](const Query& query, const float* scores) {
                std::copy_n(scores, some, query.weights + query.sees.common() + a);
            });
        });
    }

    // put(query, its scores) for queries from the n-th on, of the keys in `block`.
    template <class Put>
    void dot(int n, int some, Put put) const {
        in_packs(some, [&](int first, auto size) {
            constexpr int R = decltype(size)::value;
            const Query* pack = queries + n + first;
            const float* asked[R];
            float scores[R][KEY_BLOCK];
            for (int r = 0; r < R; r++) asked[r] = pack[r].asked;
            dot_keys<R>(asked, block, d, scores);
            for (int r = 0; r < R; r++) put(pack[r], scores[r]);
        });
    }

    void answer() const {
        each_block(values, [&](int part, int first, int end) {
            const float* rows = block_of(at(values, first), int64_t(end - first) * d, block);
            in_packs(count, [&](int n, auto size) { meet<decltype(size)::value>(queries + n, part, first, end, rows); });
        });
        each_path([&](int n, int heads, const int32_t* path, int a, int some) {
            for (int k = 0; k < some; k++)
                for (int i = 0; i < d; i++) block[k * d + i] = get(at(values, path[a + k])[i]);
            in_packs(heads, [&](int first, auto size) {
                const auto place = [&](const Visible& sees) { return sees.common() + a; };
                add<decltype(size)::value>(queries + n + first, block, some, place);
            });
        });
    }

    // Of a block's values those that all R queries see together, what is before and behind these each by itself.
    template <int R>
    void meet(const Query* pack, int part, int first, int end, const float* rows) const {
        const auto some = [&](auto size, const Query* pack, int from, int to) {
            const auto place = [&](const Visible& sees) { return from + sees.shift[part]; };
            if (from < to) add<decltype(size)::value>(pack, rows + int64_t(from - first) * d, to - from, place);
        };
        int from = first, to = end;
        for (int r = 0; r < R; r++) {
            from = std::max(from, pack[r].sees.from[part]);
            to = std::min(to, pack[r].sees.end[part]);
        }
        to = std::max(from, to);
        const std::integral_constant<int, 1> alone;
        for (int r = 0; R > 1 && r < R; r++)
            some(alone, pack + r, std::max(first, pack[r].sees.from[part]), std::min({from, end, pack[r].sees.end[part]}));
        some(std::integral_constant<int, R>{}, pack, from, to);
        for (int r = 0; R > 1 && r < R; r++) some(alone, pack + r, to, std::min(end, pack[r].sees.end[part]));
    }

    // Values for R queries, whose weights begin at place(what a query sees).
    template <int R, class Place>
    void add(const Query* pack, const float* rows, int n, Place place) const {
        const float* weights[R];
        float* made[R];
        for (int r = 0; r < R; r++) weights[r] = pack[r].weights + place(pack[r].sees), made[r] = pack[r].made;
        add_values<R>(weights, rows, d, n, made);
    }
};

}  // namespace
