// All of the shim that the program holds, in one: what it includes of libtorch takes longer to read than to compile.

#include "group.cpp"
#include "numerics.cpp"
#include "operations.cpp"
#include "recompute.cpp"
// For tests: the linker leaves out what nothing names.
#include "stub_backend.cpp"
#include "switches.cpp"
#include "training.cpp"
