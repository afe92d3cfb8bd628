// Copyright 2026 The emsparse_hs developers
// This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
//
// The loops of _kernels.py, _tv_kernels.py and _wavelet_kernels.py for a graphics card, over one
// slab of slices: what they compute, and how arguments are called, is said there. A slab is
// (row, column, SLAB), with the slice innermost, so that neighbouring threads read neighbouring
// slices.

#define SLAB 64
// Slices are read four at a time by the projector.
#define QUADS (SLAB / 4)
// Lines or tilts whose positions are counted in float32 from one place in float64.
#define STRETCH 32
// No dual may be longer than the weight, whatever the rounding.
#define JUST_BELOW (1 - 1e-5f)

__device__ float4 add_scaled(float4 sum, float factor, float4 values) {
    return make_float4(sum.x + factor * values.x, sum.y + factor * values.y,
                       sum.z + factor * values.z, sum.w + factor * values.w);
}

__device__ float clipped(float value, float high) { return fminf(high, fmaxf(0, value)); }

// Positive numbers of type double have the order of their bits.
__device__ void raise_to(double* place, double value) {
    atomicMax((unsigned long long*)place, (unsigned long long)__double_as_longlong(value));
}

// A voxel of this slab, or of the one after it; 0 beyond the volume.
__device__ float voxel(const float* here, const float* after, int r, int c, int s, int n_rows,
                       int n_columns) {
    if (r >= n_rows || c >= n_columns) return 0;
    long long pixel = ((long long)r * n_columns + c) * SLAB;
    return s < SLAB ? here[pixel + s] : after[pixel + s - SLAB];
}

// Bands of one level at a voxel: bit 2 of the index is set for differences along z, 1 along y and
// 0 along slices. In two dimensions those without the last are there.
__device__ void split(const float* here, const float* after, int stride, bool deep, int r, int c,
                      int s, int n_rows, int n_columns, float* bands) {
    for (int k = 0; k < 8; ++k)
        bands[k] = deep || k % 2 == 0
                       ? voxel(here, after, r + stride * (k >> 2), c + stride * (k >> 1 & 1),
                               s + stride * (k & 1), n_rows, n_columns)
                       : 0;
    for (int bit = deep ? 1 : 2; bit < 8; bit *= 2)
        for (int k = 0; k < 8; ++k)
            if (!(k & bit)) {
                float one = bands[k], other = bands[k | bit];
                bands[k] = 0.5f * (one + other);
                bands[k | bit] = 0.5f * (one - other);
            }
}

extern "C" {

// Threads (QUADS, rays), blocks (rays, tilts).
__global__ void project(const float4* volume, const double* rays, const bool* by_row,
                        float4* sinogram, int n_rows, int n_columns, int n_rays) {
    int quad = threadIdx.x, d = blockIdx.x * blockDim.y + threadIdx.y, tilt = blockIdx.y;
    if (d >= n_rays) return;
    const double* ray = rays + 4 * tilt;
    bool rows = by_row[tilt];
    int n_lines = rows ? n_rows : n_columns, n_points = rows ? n_columns : n_rows;
    long long to_next_line = QUADS * (rows ? (long long)n_columns : 1);
    long long to_next_point = QUADS * (rows ? 1 : (long long)n_columns);
    float slope = (float)ray[2];
    float4 one = make_float4(0, 0, 0, 0), other = one;
    for (int line = 0; line < n_lines; line += STRETCH) {
        double position = ray[0] + ray[1] * d + ray[2] * line;
        // Counted from here, no position is negative.
        double whole = floor(position + fmin(0.0, ray[2] * STRETCH));
        float rest = (float)(position - whole);
        int before = (int)fmax(fmin(whole, 1e9), -1e9);
        int n = min(STRETCH, n_lines - line);
        const float4* pixels = volume + line * to_next_line + quad;
        for (int k = 0; k < n; ++k, pixels += to_next_line) {
            float p = rest + slope * k;
            int i = (int)p;
            float right = p - i;
            i += before;
            if (i >= 0 && i < n_points)
                one = add_scaled(one, 1 - right, pixels[i * to_next_point]);
            if (i >= -1 && i < n_points - 1)
                other = add_scaled(other, right, pixels[(i + 1) * to_next_point]);
        }
    }
    float length = (float)ray[3];
    float4 sum = add_scaled(one, 1, other);
    float4* out = sinogram + ((long long)tilt * (n_rays + 2) + d + 1) * QUADS + quad;
    *out = make_float4(length * sum.x, length * sum.y, length * sum.z, length * sum.w);
}

// Threads (QUADS, columns, rows), blocks (columns, rows); STRETCH threads at least.
__global__ void backproject(const float4* sinogram, const double* waves, float4* volume,
                            int first_row, int n_rows, int n_columns, int n_tilts,
                            int n_detector) {
    __shared__ float rest[STRETCH], down[STRETCH], across[STRETCH], peak[STRETCH];
    __shared__ int before[STRETCH];
    int quad = threadIdx.x;
    int r0 = blockIdx.y * blockDim.z, c0 = blockIdx.x * blockDim.y;
    int r = r0 + threadIdx.z, c = c0 + threadIdx.y;
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    float4 one = make_float4(0, 0, 0, 0), other = one;
    for (int first = 0; first < n_tilts; first += STRETCH) {
        int n = min(STRETCH, n_tilts - first);
        __syncthreads();
        if (thread < n) {
            const double* wave = waves + 4 * (first + thread);
            double t = wave[0] + wave[1] * (first_row + r0) + wave[2] * c0;
            double whole = floor(t);
            rest[thread] = (float)(t - whole);
            before[thread] = (int)fmax(fmin(whole, 1e9), -1e9);
            down[thread] = (float)wave[1];
            across[thread] = (float)wave[2];
            peak[thread] = (float)wave[3];
        }
        __syncthreads();
        for (int k = 0; k < n; ++k) {
            float t = rest[k] + down[k] * threadIdx.z + across[k] * threadIdx.y;
            float whole = floorf(t);
            int i = before[k] + (int)whole;
            if (i < 0 || i > n_detector - 2) continue;
            float fall = (t - whole) * peak[k] * peak[k];
            const float4* ray = sinogram + ((long long)(first + k) * n_detector + i) * QUADS + quad;
            one = add_scaled(one, fmaxf(0, peak[k] - fall), ray[0]);
            other = add_scaled(other, fmaxf(0, peak[k] - peak[k] * peak[k] + fall), ray[QUADS]);
        }
    }
    if (r < n_rows && c < n_columns)
        volume[((long long)r * n_columns + c) * QUADS + quad] = add_scaled(one, 1, other);
}

// From here on: threads (SLAB, columns), blocks (columns, rows).

#define PLACE                                                            \
    int s = threadIdx.x, c = blockIdx.x * blockDim.y + threadIdx.y;      \
    int r = blockIdx.y;                                                  \
    if (c >= n_columns) return;                                          \
    long long row = (long long)n_columns * SLAB, part = (long long)n_rows * row;        \
    long long at = r * row + (long long)c * SLAB + s;                              \
    (void)part;

// The volume that the dual leads to.
__global__ void sweep_volume(const float* x, const float* slope, const float* p, const float* last,
                        bool joins, const float* first, const float* across, const float* step,
                        float high, float keep, float momentum, float* w, int n_rows,
                        int n_columns) {
    PLACE
    auto ahead = [&](long long i) { return (1 + momentum) * p[i] - momentum * last[i]; };
    float total = slope[at] - across[s] * ahead(2 * part + at);
    if (r > 0) total += ahead(at - row);
    if (r < n_rows - 1) total -= ahead(at);
    if (c > 0) total += ahead(part + at - SLAB);
    if (c < n_columns - 1) total -= ahead(part + at);
    if (s > 0) total += across[s - 1] * ahead(2 * part + at - 1);
    float value = clipped(keep * x[at] - step[s] * total, high);
    w[at] = joins && s == 0 ? first[r * n_columns + c] : value;
}

// `last` is overwritten with the new dual.
__global__ void sweep_dual(const float* w, const float* beyond, const float* across,
                           const float* rise, float momentum, float weight, float soft,
                           const float* p, float* last, int n_rows, int n_columns) {
    PLACE
    float here = w[at];
    float next = s < SLAB - 1 ? w[at + 1] : beyond[r * n_columns + c];
    float gz = r < n_rows - 1 ? w[at + row] - here : 0;
    float gy = c < n_columns - 1 ? w[at + SLAB] - here : 0;
    float gx = across[s] * (next - here);
    auto ahead = [&](long long i) { return (1 + momentum) * p[i] - momentum * last[i]; };
    float pz = ahead(at) + rise[s] * gz;
    float py = ahead(part + at) + rise[s] * gy;
    float px = ahead(2 * part + at) + rise[s] * gx;
    float square = fmaxf(pz * pz + py * py + px * px, 1e-30f);
    float shrink = fminf(1 / (1 + soft * rise[s]), JUST_BELOW * weight * rsqrtf(square));
    last[at] = shrink * pz;
    last[part + at] = shrink * py;
    last[2 * part + at] = shrink * px;
}

// Threads (columns), blocks (columns, rows).
__global__ void first_slice(const float* x, const float* slope, const float* p, const float* last,
                            const float* before, const float* last_before, const float* step,
                            float high, float keep, float momentum, float* out, int n_rows,
                            int n_columns) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y;
    if (c >= n_columns) return;
    long long row = (long long)n_columns * SLAB, part = (long long)n_rows * row;
    long long at = r * row + (long long)c * SLAB, end = 2 * part + at + SLAB - 1;
    auto ahead = [&](long long i) { return (1 + momentum) * p[i] - momentum * last[i]; };
    float total = slope[at] - ahead(2 * part + at);
    total += (1 + momentum) * before[end] - momentum * last_before[end];
    if (r > 0) total += ahead(at - row);
    if (r < n_rows - 1) total -= ahead(at);
    if (c > 0) total += ahead(part + at - SLAB);
    if (c < n_columns - 1) total -= ahead(part + at);
    out[r * n_columns + c] = clipped(keep * x[at] - step[0] * total, high);
}

__global__ void volume_step(float* x, float* slope, const float* step, float high,
                            float relaxation, int n_rows, int n_columns) {
    PLACE
    float old = x[at], fresh = clipped(old - step[s] * slope[at], high);
    slope[at] = fresh + fresh - old;
    x[at] = old + relaxation * (fresh - old);
}

__global__ void add_adjoint_gradient(float* slope, const float* p, const float* before,
                                     const float* across, int n_rows, int n_columns) {
    PLACE
    float total = slope[at] - across[s] * p[2 * part + at];
    if (r > 0) total += p[at - row];
    if (r < n_rows - 1) total -= p[at];
    if (c > 0) total += p[part + at - SLAB];
    if (c < n_columns - 1) total -= p[part + at];
    total += s > 0 ? across[s - 1] * p[2 * part + at - 1] : before[r * n_columns + c];
    slope[at] = total;
}

// Rows are tilts, and columns the detector.
__global__ void data_step(const float* projection, const float* measured, const float* step,
                          const float* per_ray, const float* precision, bool same,
                          float relaxation, float* q, int n_rows, int n_columns) {
    PLACE
    float up = step[s] * per_ray[r * n_columns + c];
    float trust = precision[same ? s : at];
    float ahead = q[at] + up * (projection[at] - measured[at]);
    float fresh = ahead * trust / fmaxf(trust + up, 1e-30f);
    q[at] += relaxation * (fresh - q[at]);
}

// Wavelets. Duals have 7 parts, the bands 1 to 7, or in two dimensions 3, the bands 2, 4 and 6.

__global__ void ascend_wavelets(const float* here, const float* after, int stride, bool deep,
                                const float* counts, const float* rise, float weight,
                                float* p, float* low, int n_rows, int n_columns) {
    PLACE
    float bands[8];
    split(here, after, stride, deep, r, c, s, n_rows, n_columns, bands);
    low[at] = bands[0];
    int reach = 2 * stride - 1;
    if (r + reach >= n_rows || c + reach >= n_columns) return;
    for (int b = 0; b < (deep ? 7 : 3); ++b) {
        long long i = b * part + at;
        float fresh = p[i] + rise[s] * bands[deep ? b + 1 : 2 * b + 2];
        p[i] = counts[s] * fminf(weight, fmaxf(-weight, fresh));
    }
}

__global__ void merge_wavelets(const float* low, const float* low_before, const float* p,
                               const float* p_before, int stride, bool deep, float* out,
                               int n_rows, int n_columns) {
    PLACE
    float total = 0;
    for (int k = 0; k < (deep ? 8 : 4); ++k) {
        int dz = deep ? k >> 2 : k >> 1, dy = deep ? k >> 1 & 1 : k & 1, dx = deep ? k & 1 : 0;
        if (r < dz * stride || c < dy * stride) continue;
        long long i = at - dz * stride * row - (long long)dy * stride * SLAB - dx * stride;
        bool beside = s < dx * stride;
        if (beside) i += SLAB;
        const float* q = beside ? p_before : p;
        float sum = (beside ? low_before : low)[i];
        for (int b = 0; b < (deep ? 7 : 3); ++b) {
            float value = q[b * part + i];
            // Differences count with a minus where the further voxel is this one.
            sum += __popc((b + 1) & k) % 2 ? -value : value;
        }
        total += sum;
    }
    out[at] = total * (deep ? 0.125f : 0.25f);
}

__global__ void descend(const float* x, const float* slope, const float* lead, const float* step,
                        float high, float keep, float* out, int n_rows, int n_columns) {
    PLACE
    out[at] = clipped(keep * x[at] - step[s] * (slope[at] + lead[at]), high);
}

// Sums: threads (SLAB, LANES), any number of blocks; totals in float64.

#define LANES 8
#define EACH_PIXEL                                                                \
    int s = threadIdx.x;                                                          \
    long long n = (long long)n_rows * n_columns;                                            \
    for (long long pixel = blockIdx.x * (long long)LANES + threadIdx.y; pixel < n;          \
         pixel += gridDim.x * (long long)LANES)

__device__ void add_up(double value, double* total) {
    __shared__ double parts[LANES][SLAB];
    parts[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.y == 0) {
        for (int lane = 1; lane < LANES; ++lane) value += parts[lane][threadIdx.x];
        atomicAdd(total + threadIdx.x, value);
    }
}

__global__ void squares(const float* values, double* total, int n_rows, int n_columns) {
    double sum = 0;
    EACH_PIXEL {
        double value = values[pixel * SLAB + s];
        sum += value * value;
    }
    add_up(sum, total);
}

__global__ void variation(const float* x, const float* beyond, const float* across, float edge,
                          double* total, int n_rows, int n_columns) {
    long long row = (long long)n_columns * SLAB;
    double sum = 0;
    EACH_PIXEL {
        int r = pixel / n_columns, c = pixel % n_columns;
        long long at = pixel * SLAB + s;
        float here = x[at], next = s < SLAB - 1 ? x[at + 1] : beyond[pixel];
        float gz = r < n_rows - 1 ? x[at + row] - here : 0;
        float gy = c < n_columns - 1 ? x[at + SLAB] - here : 0;
        float gx = across[s] * (next - here);
        float length = sqrtf(gz * gz + gy * gy + gx * gx);
        sum += length < edge ? length * length / (edge + edge) : length - 0.5f * edge;
    }
    add_up(sum, total);
}

__global__ void size_of_wavelets(const float* here, const float* after, int stride, bool deep,
                                 const float* counts, float* low, double* total, int n_rows,
                                 int n_columns) {
    float bands[8];
    int reach = 2 * stride - 1;
    double sum = 0;
    EACH_PIXEL {
        int r = pixel / n_columns, c = pixel % n_columns;
        split(here, after, stride, deep, r, c, s, n_rows, n_columns, bands);
        low[pixel * SLAB + s] = bands[0];
        if (r + reach >= n_rows || c + reach >= n_columns) continue;
        for (int k = 1; k < 8; ++k) sum += counts[s] * fabsf(bands[k]);
    }
    add_up(sum, total);
}

__global__ void price_of_descent(const float* slope, const float* seen, bool own,
                                 const double* least, double high, const double* reach,
                                 const double* shift, int n_slices, int n_bins, const double* span,
                                 double* price, double* falls, double* enough, int n_rows,
                                 int n_columns) {
    double sum = 0, most = 0;
    bool counts = threadIdx.x < n_slices;
    EACH_PIXEL {
        if (!counts) break;
        double here = seen[own ? pixel * SLAB + s : pixel];
        double value = slope[pixel * SLAB + s] + shift[s] * here;
        if (value >= 0) continue;
        double bound = fmin(high, reach[s] / fmax(here, least[s]));
        sum -= bound * value;
        if (here > 0) {
            most = fmax(most, shift[s] - value / here);
            double stop = fmin(-value / here * n_bins / fmax(span[s], 1e-300), n_bins - 1.0);
            atomicAdd(falls + (int)stop * n_slices + s, bound * here);
        }
    }
    if (most > 0) raise_to(enough + threadIdx.x, most);
    add_up(sum, price);
}

}
