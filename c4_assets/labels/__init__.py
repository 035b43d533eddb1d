"""What people say of drops: labels collected, agreement measured, disagreements with the model (Ashes)."""
