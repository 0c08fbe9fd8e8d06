// The public exception, under the name that the engine's folders include.
#pragma once

#include "arc/error.h"
