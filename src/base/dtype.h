// Element types of tensors, and the exact conversions between the small floating-point types and float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace arc {

// `packed` marks bytes whose meaning only a WeightFormat or KvPolicy knows.
enum class DType : uint8_t { f64, f32, f16, bf16, f8e4m3, f8e5m2, i8, u8, i16, i32, i64, boolean, packed };

// Bytes per element; `packed` counts single bytes.
size_t dtype_size(DType dtype);

// Lower-case name as Arc prints it: "f32", "bf16", ...
std::string_view dtype_name(DType dtype);

bool is_floating(DType dtype);

// Conversions to float are exact. Conversions from float round to nearest, ties to even; overflow gives infinity
// (f8e4m3, which has none, gives NaN, as IEEE-style OCP 8-bit formats define).
float bf16_to_float(uint16_t bits);
float f16_to_float(uint16_t bits);
float f8e4m3_to_float(uint8_t bits);
float f8e5m2_to_float(uint8_t bits);
uint16_t float_to_bf16(float value);
uint16_t float_to_f16(float value);

// Converts `count` elements of a floating or integer type to float. `source` needs no alignment.
void to_float(DType dtype, const void* source, float* out, size_t count);

// Converts `count` floats to f64, f32, f16 or bf16; any other type is a bug.
void from_float(DType dtype, const float* source, void* out, size_t count);

}  // namespace arc
