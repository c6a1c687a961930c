"""An instrument in a browser: a keyboard and a panel that the engine plays."""
