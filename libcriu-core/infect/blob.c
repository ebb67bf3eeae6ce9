#include "infect/blob.h"

extern const char blob_image_start[] __attribute__((visibility("hidden")));
extern const char blob_image_end[] __attribute__((visibility("hidden")));

void blob_image(const void **ret, size_t *ret_size)
{
	*ret = blob_image_start;
	*ret_size = (size_t)(blob_image_end - blob_image_start);
}
