// A call token by token, and the memory that it works in.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "attention.h"
#include "gemm.h"
#include "model.h"
#include "top_k.h"

namespace {

struct Batch {  // a call, token by token: M of them
    const int32_t *token, *position, *row, *place, *end, *paths, *path_start;
    // place: where its key goes, counted from the text's first token; it sees those before `end`, as far as its group reaches,
    // and then those at paths[path_start[m] .. path_start[m + 1])
    const int32_t* read_end;  // of the other model's keys
    const int32_t* wanted;
    const Held *held, *read;
    const int32_t* group;
    float *work, *queries;
    void* logits;
    int32_t count, m, l, most_keys, threads;
};

// Where a forward's numbers lie in its work memory, counted in floats: what all threads share, then what each has for itself. `h`
// are normed rows, `codes` rows that linears take rounded, `ldc` groups apart, `qkv` what attention asks and adds, `attended` its answers, `gated` the feed-forward's middle.
struct Layout {
    int64_t qkv_width, scores_size, own_size, ldc, h, codes, qkv, attended, gated, own, size;

    Layout(const Model& model, int64_t m, int64_t most_keys, int threads) {
        const int64_t d = model.dim, cross = model.cross_heads * model.cross_dim;
        const int64_t inner = std::max({int64_t(model.width), model.heads * d, cross});
        const int64_t groups = std::max(model.heads / model.kv_heads, cross ? model.cross_heads / model.cross_kv_heads : 0);
        qkv_width = std::max((model.heads + 2 * model.kv_heads) * d, cross);
        scores_size = std::min<int64_t>(QUERY_BLOCK, m * groups) * most_keys;
        own_size = scores_size + KEY_BLOCK * std::max(model.dim, model.cross_dim);
        h = m * model.width;
        ldc = inner / GROUP;
        codes = h + m * inner;
        qkv = codes + m * ldc * int64_t(sizeof(Rounded) / sizeof(float));
        attended = qkv + m * qkv_width;
        gated = attended + m * inner;
        own = gated + m * model.ffn;
        size = own + threads * own_size;
    }
};

// Memory that a thread keeps from call to call, since fresh memory costs page faults; in whole cache lines. No std container:
// what these compile to could be shared among the objects of several processors.
template <class T>
struct Buffer {
    T* at = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(at); }
    T* of(int64_t n) {  // null where there is no more memory
        if (n > size) {
            std::free(at);
            size = (n + n / 2 + 63) / 64 * 64;
            at = (T*)std::aligned_alloc(64, sizeof(T) * size);
            if (!at) size = 0;
        }
        return at;
    }
};

struct Workspace {
    Buffer<int32_t> numbers, later, kept;
    Buffer<float> work, path_probs;
    Buffer<Piece> pieces;
};

// The call token by token, with space for `steps` tokens behind each row's.
Fault expand_batch(const Model& model, const Call& c, int steps, Workspace& workspace, Batch& batch) {
    const int m = c.count * c.width, l = c.l;
    int64_t path = 0;
    for (int i = 0; c.parents && i < m; i++)
        if (c.parents[i] < -1 || c.parents[i] >= i % c.width) return NO_TREE;
    for (int i = 0; c.parents && i < m; i++)
        for (int at = i; at != -1; path++) at = c.parents[at] == -1 ? -1 : i - i % c.width + c.parents[at];
    int32_t* next = workspace.numbers.of(7 * int64_t(m) + 1 + path + (c.wanted ? 0 : l));
    if (!next) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(next, next + n); };
    int32_t *token = take(m), *position = take(m), *row = take(m), *place = take(m), *end = take(m);
    int32_t *read_end = take(m), *path_start = take(m + 1), *paths = take(path), most = 0;
    path_start[0] = 0;
    for (int b = 0; b < c.count; b++) {
        const int length = c.rows[b].length, read_length = c.rows[b].read_length;
        most = std::max(most, read_length);
        for (int g = 0; g < c.groups; g++)
            most = std::max(most, int(length - c.held[g * c.count + b].dropped + c.width + steps));
        for (int t = 0, i = b * c.width; t < c.width; t++, i++) {
            if (c.tokens[i] < 0 || c.tokens[i] >= c.known) return UNKNOWN_ID;
            const int parent = c.parents ? c.parents[i] : t - 1;
            token[i] = int32_t(c.tokens[i]), row[i] = b, place[i] = length + t;
            if (!c.parents) position[i] = std::min(length + t, c.positions - 1);
            else position[i] = parent == -1 ? length : position[b * c.width + parent] + 1;
            if (position[i] + steps > c.positions) return TOO_LONG;
            read_end[i] = std::min(read_length, position[i]);
            end[i] = c.parents ? length : place[i] + 1;
            int32_t* stop = path_start + i + 1;
            *stop = path_start[i];
            if (c.parents) {  // its parent's path and itself
                if (parent != -1) {
                    const int above = b * c.width + parent;
                    *stop += path_start[above + 1] - path_start[above];
                    std::copy(paths + path_start[above], paths + path_start[above + 1], paths + path_start[i]);
                }
                paths[(*stop)++] = place[i];
            }
        }
    }
    const int32_t* wanted = c.wanted;
    if (!wanted) {
        int32_t* all = take(l);
        for (int i = 0; i < l; i++) all[i] = i;
        wanted = all;
    }
    most = (most + PARTIALS - 1) / PARTIALS * PARTIALS + PARTIALS;
    float* work = workspace.work.of(Layout(model, m, most, c.threads).size);
    if (!work) return NO_MEMORY;
    batch = {token, position, row, place, end, paths, path_start, read_end, wanted, c.held, c.read, c.group, work, c.queries,
             c.logits, c.count, m, l, most, c.threads};
    return NONE;
}

}  // namespace
