// A decoder forward for llama-type layers on a CPU: from token ids to logits in one call, by one team of threads.
//
// Every number is made by one fixed sequence of operations that depends on its own token's prefix alone: a linear's output is
// summed over its inputs in order, a query's keys are taken in the order of the text, wherever they lie. So a token's logits are
// the same bits whether it is decoded alone, verified in a chain or a tree, or batched with other rows. Activations and sums are
// fp32; a linear's weights may be bf16 whatever the cache is, since fp32 weights that came from a bf16 checkpoint lose nothing by
// it, or int8, for drafting models.

#include <omp.h>

#include "attention_kernels.h"
#include "batch.h"
#include "linear.h"
#include "model.h"
#include "norm_rope.h"
#include "pass.h"
#include "top_k.h"

namespace {

template <class C>
void run(const Model& model, const Batch& c) {
    const Layout at(model, c.m, c.most_keys, c.threads);
#pragma omp parallel num_threads(c.threads)
    Pass<C>{model, c, at, {omp_get_thread_num(), omp_get_num_threads()}}.run();
}

void run_any(const Model& model, const Batch& batch) { model.half_keys ? run<bf16>(model, batch) : run<float>(model, batch); }

thread_local Workspace workspace;

}  // namespace

void EXPORTED(gemm)(const Linear* linear, const float* x, int32_t m, float* y, int32_t threads) {
    const int64_t groups = linear->in / GROUP;
    Rounded* codes = linear->integer ? (Rounded*)std::malloc(m * groups * sizeof(Rounded)) : nullptr;
    for (int row = 0; codes && row < m; row++) round_row(x + int64_t(row) * linear->in, linear->in, codes + row * groups);
    int64_t width = 0;
    for (const Linear* part = linear; part; part = part->rest) width += part->out;
#pragma omp parallel num_threads(threads)
    linear_to({omp_get_thread_num(), omp_get_num_threads()}, *linear, {x, linear->in, codes, groups}, m, y, width, false);
    std::free(codes);
}

float EXPORTED(softmax)(float* scores, int32_t n) { return softmax(scores, n); }

void EXPORTED(rope)(float* x, const float* cos, const float* sin, int32_t d, float scale) { rope(x, cos, sin, d, scale); }

int32_t EXPORTED(size_of)(int32_t what) { return what == 0 ? sizeof(Layer) : what == 1 ? sizeof(Model) : sizeof(Call); }

int32_t EXPORTED(forward)(const Model* model, const Call* call) {
    Batch batch;
    const Fault fault = expand_batch(*model, *call, 1, workspace, batch);
    if (fault == NONE) run_any(*model, batch);
    return fault;
}

// Greedy continuation: the call's wanted tokens are the last ones of their rows, L of them; each row gets up to `steps` more.
// top_tokens, probs: [steps, L, top], the likeliest tokens at each place and their probabilities; the first one is drafted. It is
// -1 from where the chance of the row's path falls below `min_chance` or, but for the first token, below `token_cost` times the
// tokens for each plain step that the row's round has so far, at least 1. The chance is the product of probabilities, or of
// calibration[row * bins + bin of the probability]. All drafted tokens but the last are also fed; their keys go behind the row's.
int32_t EXPORTED(extend)(const Model* model, const Call* call, int32_t steps, float min_chance, float token_cost,
                         const float* calibration, int32_t bins, int32_t top, int32_t* top_tokens, float* probs) {
    Batch first;
    if (const Fault fault = expand_batch(*model, *call, steps, workspace, first); fault != NONE) return fault;
    const int l = call->l, v = model->head.out;
    std::fill_n(top_tokens, steps * l * top, -1);
    int32_t *numbers = workspace.later.of(8 * int64_t(l) + 1), *kept = workspace.kept.of(int64_t(l) * PIECES * top);
    float* path = workspace.path_probs.of(2 * int64_t(l));
    Piece* pieces = workspace.pieces.of(int64_t(l) * PIECES);
    if (!numbers || !kept || !path || !pieces) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(numbers, numbers + n); };
    int32_t *next = take(l), *position = take(l), *from = take(l), *place = take(l), *end = take(l);
    int32_t *each = take(l), *read_end = take(l), *none = take(l + 1);
    float* gain = path + l;
    std::fill_n(path, 2 * l, 1.0f);
    std::fill_n(none, l + 1, 0);
    for (int i = 0; i < l; i++) {
        const int row = first.wanted[i];
        position[i] = first.position[row], from[i] = first.row[row], place[i] = first.place[row];
        each[i] = i, read_end[i] = first.read_end[row];
    }
    Batch later = first;
    later.token = next, later.position = position, later.row = from, later.place = place, later.end = end;
    later.path_start = none, later.wanted = each, later.read_end = read_end, later.m = l;
    for (int step = 0; step < steps; step++, top_tokens += int64_t(l) * top, probs += int64_t(l) * top) {
        run_any(*model, step ? later : first);
        if (model->half) top_k((const bf16*)call->logits, l, v, top, pieces, kept, call->threads, top_tokens, probs);
        else top_k((const float*)call->logits, l, v, top, pieces, kept, call->threads, top_tokens, probs);
        bool going = false;
        for (int i = 0; i < l; i++) {
            int32_t& token = top_tokens[int64_t(i) * top];
            const float prob = probs[int64_t(i) * top];
            next[i] = token;
            path[i] *= bins ? calibration[i * bins + std::max(0, std::min(bins - 1, int(prob * bins)))] : prob;
            if (!(prob >= 0)) path[i] = -1.0f;  // no number: nothing is drafted
            const float worth = step ? token_cost * std::max(1.0f, gain[i] / (1 + step * token_cost)) : 0.0f;
            if (path[i] >= std::max(min_chance, worth)) going = true, gain[i] += path[i];
            else token = -1, path[i] = -1.0f;
        }
        if (!going) break;
        for (int i = 0; i < l; i++) position[i]++, end[i] = ++place[i] + 1;
    }
    return NONE;
}
