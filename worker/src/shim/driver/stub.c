// A driver for tests: one GPU, whose kernel writes down how it was launched.
#include <stddef.h>
#include <string.h>

int cuInit(unsigned flags) { return flags == 0 ? 0 : 1; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGet(int* device, int number) {
  if (number != 0) return 101;
  *device = 40;
  return 0;
}
int cuDeviceGetName(char* name, int length, int device) {
  if (device != 40 || length < 16) return 1;
  strcpy(name, "Stub GPU 16GB ");
  return 0;
}
int cuDeviceGetUuid(unsigned char* uuid, int device) {
  for (int i = 0; i < 16; ++i) uuid[i] = (unsigned char)(i * 16 + 1);
  return device == 40 ? 0 : 1;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)16 << 30; return device == 40 ? 0 : 1; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1;
  return device == 40 ? 0 : 1;
}
static void* context;
int cuCtxGetCurrent(void** current) { *current = context; return 0; }
int cuModuleLoadData(void** module, const void* image) {
  if (memcmp(image, "whole", 5) != 0) return 200;
  context = &context;
  *module = (void*)image;
  return 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  if (strcmp(name, "known") != 0) return 500;
  *function = module;
  return 0;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** parameters, void** extra) {
  unsigned* seen = *(unsigned**)parameters[0];
  const unsigned given[8] = {gx, gy, gz, bx, by, bz, shared, *(int*)parameters[1]};
  if (function == NULL || stream != NULL || extra != NULL) return 400;
  memcpy(seen, given, sizeof given);
  return 0;
}
int cuGetErrorName(int error, const char** name) {
  switch (error) {
    case 101: *name = "CUDA_ERROR_INVALID_DEVICE"; return 0;
    case 200: *name = "CUDA_ERROR_INVALID_IMAGE"; return 0;
    case 500: *name = "CUDA_ERROR_NOT_FOUND"; return 0;
    default: return 1;
  }
}
