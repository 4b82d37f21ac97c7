// What a row meets by itself: RMS norm and rotary positions.
#pragma once

#include <cmath>

#include "simd.h"

namespace {

// y = x / rms(x) * weight, over n numbers.
void rms_norm(const float* x, const float* weight, int n, float eps, float* y) {
    V squares = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) squares += load(x + i) * load(x + i);
    float sum = hsum(squares);
    for (; i < n; i++) sum += x[i] * x[i];
    const float scale = 1.0f / std::sqrt(sum / n + eps);
    for (i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

// Rotated in place: x cos + (halves swapped) sin.
void rope(float* x, const float* cos, const float* sin, int d, float scale) {
    for (int i = 0; i < d / 2; i++) {
        const float a = x[i], b = x[i + d / 2];
        x[i] = (a * cos[i] + b * sin[i]) * scale;
        x[i + d / 2] = (b * cos[i + d / 2] + a * sin[i + d / 2]) * scale;
    }
}

}  // namespace
