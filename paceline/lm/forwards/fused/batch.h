// A call token by token, and the memory that it works in.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "attention.h"
#include "model.h"
#include "top_k.h"

namespace {

struct Batch {  // a call, token by token: M of them
    const int32_t *token, *position, *dropped, *slot, *place, *end, *paths, *path_start;
    // dropped: how far its position is beyond its place among its slot's keys.
    // place: where its key goes in its slot; it sees keys [0, end) and then those at paths[path_start[m] .. path_start[m + 1])
    const int32_t *read_slot, *read_end;  // of the other model's cache
    const int32_t* wanted;
    void* const* cache;
    void* const* read_cache;
    float *work, *queries;
    void* logits;
    int64_t kv_stride, slot_stride, head_stride, read_kv_stride, read_slot_stride, read_head_stride;
    int32_t m, l, most_keys, threads;
};

int64_t work_floats(const Model& model, int32_t m, int32_t most_keys, int32_t threads) {
    const int64_t d = model.dim, cross = model.cross_heads * model.cross_dim;
    const int64_t inner = std::max({int64_t(model.width), model.heads * d, cross});
    const int64_t joint = std::max((model.heads + 2 * model.kv_heads) * d, cross);
    const int64_t groups = std::max(model.heads / model.kv_heads, cross ? model.cross_heads / model.cross_kv_heads : 0);
    return m * (model.width + 2 * inner + joint + model.ffn) + m + 1 +
           threads * (std::min(QUERY_BLOCK, m) * groups * most_keys + KEY_BLOCK * std::max(model.dim, model.cross_dim));
}

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
    int32_t* next = workspace.numbers.of(9 * int64_t(m) + 1 + path + (c.wanted ? 0 : l));
    if (!next) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(next, next + n); };
    int32_t *token = take(m), *position = take(m), *dropped = take(m), *slot = take(m), *place = take(m), *end = take(m);
    int32_t *read_slot = take(m), *read_end = take(m), *path_start = take(m + 1), *paths = take(path), most = 0;
    path_start[0] = 0;
    for (int b = 0; b < c.count; b++) {
        const Row& row = c.rows[b];
        most = std::max({most, row.start + c.width + steps, row.read_length});
        for (int t = 0, i = b * c.width; t < c.width; t++, i++) {
            if (c.tokens[i] < 0 || c.tokens[i] >= c.known) return UNKNOWN_ID;
            const int parent = c.parents ? c.parents[i] : t - 1, first = row.start + row.dropped;
            token[i] = int32_t(c.tokens[i]), slot[i] = row.slot, dropped[i] = row.dropped, place[i] = row.start + t;
            position[i] = !c.parents ? std::min(first + t, c.last) : parent == -1 ? first : position[b * c.width + parent] + 1;
            if (position[i] + steps > c.positions) return TOO_LONG;
            read_slot[i] = row.read_slot, read_end[i] = std::min(row.read_length, position[i]);
            end[i] = c.parents ? row.start : place[i] + 1;
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
    float* work = workspace.work.of(work_floats(model, m, most, c.threads));
    if (!work) return NO_MEMORY;
    batch = {token, position, dropped, slot, place, end, paths, path_start, read_slot, read_end, wanted, c.cache, c.read_cache,
             work, c.queries, c.logits, c.kv_stride, c.slot_stride, c.head_stride, c.read_kv_stride, c.read_slot_stride,
             c.read_head_stride, m, l, most, c.threads};
    return NONE;
}

}  // namespace
