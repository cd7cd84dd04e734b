/* lamina.h is C11. */
#include "lamina.h"

int lamina_h_is_c(void);
int lamina_h_is_c(void) { return LAMINA_OK; }
