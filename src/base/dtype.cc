#include "base/dtype.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace arc {
namespace {

struct DTypeInfo {
  std::string_view name;
  size_t size = 0;
  bool floating = false;
};

// Indexed by DType.
constexpr DTypeInfo kInfo[] = {{"f64", 8, true},    {"f32", 4, true},    {"f16", 2, true},  {"bf16", 2, true},
                               {"f8e4m3", 1, true}, {"f8e5m2", 1, true}, {"i8", 1, false},  {"u8", 1, false},
                               {"i16", 2, false},   {"i32", 4, false},   {"i64", 8, false}, {"bool", 1, false},
                               {"packed", 1, false}};

// Value of a small float with `mantissa_bits` and exponent bias `bias`; `magnitude` has no sign bit. Finite inputs
// only.
float small_float(uint32_t magnitude, bool negative, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(magnitude >> mantissa_bits);
  const uint32_t mantissa = magnitude & ((1u << mantissa_bits) - 1);
  const uint32_t significand = exponent == 0 ? mantissa : mantissa | (1u << mantissa_bits);
  const float value =
      std::ldexp(static_cast<float>(significand), (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
  return negative ? -value : value;
}

template <typename T, typename Convert>
void convert_all(const void* source, float* out, size_t count, Convert convert) {
  const char* bytes = static_cast<const char*>(source);
  for (size_t i = 0; i < count; ++i) {
    T element;
    std::memcpy(&element, bytes + i * sizeof(T), sizeof(T));
    out[i] = convert(element);
  }
}

}  // namespace

size_t dtype_size(DType dtype) {
  return kInfo[static_cast<size_t>(dtype)].size;
}
std::string_view dtype_name(DType dtype) {
  return kInfo[static_cast<size_t>(dtype)].name;
}
bool is_floating(DType dtype) {
  return kInfo[static_cast<size_t>(dtype)].floating;
}

float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

float f16_to_float(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffu;
  const bool negative = (bits & 0x8000u) != 0;
  if (magnitude >= 0x7c00u) {
    if (magnitude > 0x7c00u) return std::numeric_limits<float>::quiet_NaN();
    return negative ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  return small_float(magnitude, negative, 10, 15);
}

float f8e4m3_to_float(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::numeric_limits<float>::quiet_NaN();
  return small_float(magnitude, (bits & 0x80u) != 0, 3, 7);
}

// E5M2 is the upper byte of an f16.
float f8e5m2_to_float(uint8_t bits) {
  return f16_to_float(static_cast<uint16_t>(bits << 8));
}

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00u;
  if (magnitude >= 65520.0f) return sign | 0x7c00u;
  if (magnitude < 6.103515625e-05f) {  // subnormal: a multiple of 2^-24, rounded by the hardware's nearest-even rule
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  const uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + ((bits >> 13) & 1u);
  return sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
}

void to_float(DType dtype, const void* source, float* out, size_t count) {
  const auto cast = [](auto element) { return static_cast<float>(element); };
  switch (dtype) {
    case DType::f64:
      return convert_all<double>(source, out, count, cast);
    case DType::f32:
      std::memcpy(out, source, count * sizeof(float));
      return;
    case DType::f16:
      return convert_all<uint16_t>(source, out, count, f16_to_float);
    case DType::bf16:
      return convert_all<uint16_t>(source, out, count, bf16_to_float);
    case DType::f8e4m3:
      return convert_all<uint8_t>(source, out, count, f8e4m3_to_float);
    case DType::f8e5m2:
      return convert_all<uint8_t>(source, out, count, f8e5m2_to_float);
    case DType::i8:
      return convert_all<int8_t>(source, out, count, cast);
    case DType::u8:
      return convert_all<uint8_t>(source, out, count, cast);
    case DType::i16:
      return convert_all<int16_t>(source, out, count, cast);
    case DType::i32:
      return convert_all<int32_t>(source, out, count, cast);
    case DType::i64:
      return convert_all<int64_t>(source, out, count, cast);
    case DType::boolean:
      return convert_all<uint8_t>(source, out, count, [](uint8_t b) { return b ? 1.0f : 0.0f; });
    case DType::packed:
      break;
  }
  ARC_CHECK(false) << "to_float of " << dtype_name(dtype);
}

void from_float(DType dtype, const float* source, void* out, size_t count) {
  char* bytes = static_cast<char*>(out);
  const auto store = [&](auto convert) {
    for (size_t i = 0; i < count; ++i) {
      const auto element = convert(source[i]);
      std::memcpy(bytes + i * sizeof(element), &element, sizeof(element));
    }
  };
  switch (dtype) {
    case DType::f64:
      return store([](float v) { return static_cast<double>(v); });
    case DType::f32:
      std::memcpy(out, source, count * sizeof(float));
      return;
    case DType::f16:
      return store(float_to_f16);
    case DType::bf16:
      return store(float_to_bf16);
    default:
      break;
  }
  ARC_CHECK(false) << "from_float to " << dtype_name(dtype);
}

}  // namespace arc
