// The theme that was chosen, before anything is painted.
{
  let theme = null;
  try {
    theme = localStorage.getItem('tercet/theme');
  } catch {
    // Storage is forbidden: the system's theme it is.
  }
  if (theme === 'light' || theme === 'dark') {
    document.documentElement.dataset.theme = theme;
  }
}
