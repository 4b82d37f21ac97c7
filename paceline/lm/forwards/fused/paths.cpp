// Which of the library's objects this processor can run. Compiled for the least of processors, since it is asked first.

extern "C" const char* best_path() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma");
#if defined(HAS_avx512vnni)
    if (avx512 && __builtin_cpu_supports("avx512vnni")) return "avx512vnni";
#endif
#if defined(HAS_avx512)
    if (avx512) return "avx512";
#endif
#if defined(HAS_avx2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return "avx2";
#endif
#if defined(HAS_portable)
    return "portable";
#endif
#elif defined(HAS_native)
    return "native";
#endif
    return "";
}
