/* Two pretended GPUs, listed in the reverse of CUDA's order: the first draws all the power it may, the second is hot. It
 * tells nothing of its utilisation, as a slice of a GPU does not. */
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} Memory;

static const char *const uuids[] = {"GPU-first", "GPU-second"};

static int is_second(void *device) { return device == (void *)uuids[1]; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { return flags ? NOT_SUPPORTED : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    for (int i = 0; i < 2; i++) {
        if (strcmp(uuid, uuids[i]) == 0) {
            *device = (void *)uuids[i];
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *gpu_and_memory) {
    gpu_and_memory[0] = 97;
    gpu_and_memory[1] = 50;
    return is_second(device) ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *memory) {
    memory->total = 80ull << 30;
    memory->used = is_second(device) ? 1ull << 30 : 60ull << 30;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    *milliwatts = is_second(device) ? 150000 : 390500;
    return SUCCESS;
}

#ifndef WITHOUT_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    static unsigned long long now = 5000000;
    (void)device;
    *millijoules = now += 2500;
    return SUCCESS;
}
#endif

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    *reasons = is_second(device) ? 0x48 : 0x4; /* hardware slowdown by heat; power cap */
    return SUCCESS;
}
