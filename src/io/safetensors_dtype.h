// The names that safetensors gives to element types.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/dtype.h"

namespace arc {

struct SafetensorsDtype {
  std::string_view name;
  DType dtype;
};

constexpr SafetensorsDtype kSafetensorsDtypes[] = {
    {"F64", DType::f64},        {"F32", DType::f32},        {"F16", DType::f16}, {"BF16", DType::bf16},
    {"F8_E4M3", DType::f8e4m3}, {"F8_E5M2", DType::f8e5m2}, {"I64", DType::i64}, {"I32", DType::i32},
    {"I16", DType::i16},        {"I8", DType::i8},          {"U8", DType::u8},   {"BOOL", DType::boolean},
};

inline std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const SafetensorsDtype& known : kSafetensorsDtypes) {
    if (known.name == name) return known.dtype;
  }
  return std::nullopt;
}

// Empty for a type that the format has no name for.
inline std::string_view dtype_to_safetensors(DType dtype) {
  for (const SafetensorsDtype& known : kSafetensorsDtypes) {
    if (known.dtype == dtype) return known.name;
  }
  return {};
}

}  // namespace arc
