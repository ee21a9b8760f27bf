// What a progress bar draws, without its orders to the terminal not to go on in the next line.

export const unwrapped = (text: string): string => text.replaceAll('\x1b[?7l', '').replaceAll('\x1b[?7h', '');
