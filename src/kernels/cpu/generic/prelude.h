// What the objects of all instruction sets include, outside their namespaces.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/api/kernel.h"
#include "kernels/cpu/op_scratch.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/team.h"
