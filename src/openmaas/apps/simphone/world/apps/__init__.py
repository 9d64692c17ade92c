"""What each application keeps and which changes it allows; none knows that there are pages."""
