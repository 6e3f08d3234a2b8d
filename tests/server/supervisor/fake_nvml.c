/* NVIDIA's driver library as nvidia-ml-py calls it: two GPUs, and whatever misbehaviour is the
   first word in the file that FAKE_NVML names. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

static int told_to(const char *word) {
  char text[32] = "";
  const char *path = getenv("FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (file == NULL) return 0;
  if (fscanf(file, "%31s", text) != 1) text[0] = '\0';
  fclose(file);
  return strcmp(text, word) == 0;
}

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  return told_to("no-driver") ? DRIVER_NOT_LOADED : SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = told_to("no-gpu") ? 0 : 2;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  *device = (void *)(uintptr_t)(index + 1);
  return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
  (void)device;
  snprintf(name, length, "Fake GPU");
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]) {
  if (told_to("lose")) return GPU_IS_LOST;
  if (told_to("hang")) pause();
  memory[0] = 80ULL << 30;                       /* total */
  memory[2] = (uint64_t)(uintptr_t)device << 30; /* used: 1 GiB of the first, 2 of the second */
  memory[1] = memory[0] - memory[2];             /* free */
  return SUCCESS;
}
