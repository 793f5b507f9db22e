/* /init of the boot bench: says that the kernel has started it, then waits to be ended with its machine. */
#include <unistd.h>

int main(void)
{
	static const char marker[] = "LAMINA-BENCH-INIT\n";

	if (write(1, marker, sizeof marker - 1) < 0)
		return 1;
	for (;;)
		pause();
}
